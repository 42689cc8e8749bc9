"""Streams over a real store without sockets: what each was sent, and who does not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from taskmeter.core.lifecycle import change_of
from taskmeter.core.ports import Change
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.service import Service
from taskmeter.errors import TaskmeterError
from taskmeter.model.event import Event, MetadataChanged, StateChanged
from taskmeter.model.ids import new_token
from taskmeter.model.key import ALL_SCOPES, Key
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task, TaskSpec
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.stores.sqlite import SqliteStore
from taskmeter.v1 import task_service_pb2 as pb


class Unmetered:
    """Stands for executor and meter: no task runs here, and what its status is worth is set by hand."""

    sizes: Any = None
    gpus: Any = None

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}

    def version(self, token: str) -> int:
        return self.versions.get(token, 0)

    def hot(self, token: str) -> bytes:
        return b""


class Follower:
    """One subscriber; takes the place of the call's context."""

    def __init__(self, streams: EventStreams, tenant: str, **fields: Any) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.messages: list[pb.StreamEventsResponse] = []
        self.stall_after = 0
        """Stops to read after so many messages; 0 = does not."""
        self.error: TaskmeterError | None = None
        self._streams = streams
        self._caller = Caller(Key("k", tenant, ALL_SCOPES, b""))
        self.task = asyncio.ensure_future(self._run(pb.StreamEventsRequest(**fields)))

    async def _run(self, request: pb.StreamEventsRequest) -> None:
        try:
            await self._streams.stream_events(request, self._caller, self)  # type: ignore[arg-type]
        except TaskmeterError as error:
            self.error = error

    async def write(self, message: bytes) -> None:
        """Called by the stream, as gRPC's is: returns once the subscriber has room."""
        await self.reads.wait()
        self.messages.append(pb.StreamEventsResponse.FromString(message))
        if len(self.messages) == self.stall_after:
            self.reads.clear()

    @property
    def seqs(self) -> list[int]:
        return [event.seq for message in self.messages for event in message.events]

    @property
    def reached(self) -> int:
        return max((message.seq for message in self.messages), default=0)

    @property
    def resume_token(self) -> str:
        return next((message.resume_token for message in reversed(self.messages) if message.resume_token), "")

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class World:
    """A store, its streams, and some tasks of several tenants to say something about."""

    def __init__(self, path: Path) -> None:
        self.codec = ProtoCodec()
        self.store = SqliteStore(path, self.codec)
        self.meter = Unmetered()
        nothing: Any = self.meter
        self.service = Service(store=self.store, executor=nothing, meter=nothing, codec=self.codec, scheduler=Scheduler(1, 10))
        self.streams = EventStreams(self.service)
        self.history: list[tuple[int, Task, int]] = []
        """(seq, task, kind) of all events that there ever were."""
        self.tasks: list[Task] = []

    async def add_task(self, tenant: str = "default", tags: Mapping[str, str] | None = None) -> Task:
        """Accept a task that is, as far as anybody is told, running."""
        now = time.time()
        spec = TaskSpec(argv=("true",), tags=dict(tags or {}))
        task = Task(token=new_token(), spec=spec, spec_hash=b"h", create_time=now, queued_time=now, tags=spec.tags, tenant=tenant)
        change = change_of(task, [], spec=self.codec.encode_spec(spec))
        await self._commit(replace(change, task=replace(task, state=State.RUNNING)))
        return self.tasks[-1]

    async def say(self, task: Task, kinds: str = "m", size_bytes: int = 20) -> None:
        """Commit a block: "m" is a change of metadata, "s" one of state."""
        said: dict[str, MetadataChanged | StateChanged] = {
            "m": MetadataChanged({}, {"k": "x" * size_bytes}),
            "s": StateChanged(State.RUNNING, State.RUNNING, Outcome.UNSPECIFIED, "", None),
        }
        await self._commit(Change(task, tuple(Event(task.token, time.time(), 1, task.tags, said[kind]) for kind in kinds)))

    async def _commit(self, change: Change) -> None:
        [(task, block)] = await self.store.commit([change])
        assert block is not None
        self.tasks = [each for each in self.tasks if each.token != task.token] + [task]
        self.history += [(seq, task, kind) for seq, kind in zip(range(block.first_seq, 2**62), block.kinds, strict=False)]

    async def compact(self, before_seq: int) -> None:
        await self.store.upkeep.compact_events(0.0, before_seq)

    def follow(self, tenant: str = "default", **fields: Any) -> Follower:
        return Follower(self.streams, tenant, **fields)

    async def close(self) -> None:
        await self.store.close()
