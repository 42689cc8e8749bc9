"""The daemon's store, hub, streams and server in one process that also makes events: `server.py [unpaced] DIRECTORY KEY`.

Nothing of the path from the transaction to the socket is another than the daemon's; only tasks are not run. `unpaced` is for
comparison: every stream is woken at once, and the next tick follows without a pause.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.baseline import OneKey
from bench.fanout.producer import Marks, obey, say_ready
from taskmeter.core.keyring import Keyring
from taskmeter.core.lifecycle import change_of
from taskmeter.core.ports import Change
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.schedules import Schedules
from taskmeter.core.service import Service
from taskmeter.daemon import SWITCH_INTERVAL_SECONDS
from taskmeter.model.event import Event, MetadataChanged
from taskmeter.model.ids import new_token
from taskmeter.model.task import Task, TaskSpec
from taskmeter.rpc import fanout
from taskmeter.rpc.admin_service import AdminServicer
from taskmeter.rpc.auth import Authenticator
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.file_service import FileServicer
from taskmeter.rpc.gate import Gate
from taskmeter.rpc.item_service import ItemServicer
from taskmeter.rpc.methods import Activity, Router
from taskmeter.rpc.open_calls import OpenCalls
from taskmeter.rpc.queue_service import QueueServicer
from taskmeter.rpc.schedule_service import ScheduleServicer
from taskmeter.rpc.server import RpcServer
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.rpc.task_service import TaskServicer
from taskmeter.stores.sqlite import SqliteStore

PAYLOAD_BYTES = 120
"""Makes an event of about 200 bytes."""


class StampedStore(SqliteStore):
    """Notes when a transaction was on disk."""

    def __init__(self, *arguments: Any) -> None:
        self.stamps: Marks = []
        super().__init__(*arguments)

    def _write(self, batch: Any, *, second: bool = False) -> None:
        super()._write(batch, second=second)
        self.stamps.append((self._written_head, time.monotonic_ns()))


class Nothing:
    """What stands for executor and meter: tasks can wait and be cancelled here, none runs."""

    sizes: Any = None
    gpus: Any = None

    def __init__(self, record: Path) -> None:
        self._record = record

    def check_limits(self, resources: Any) -> None:
        """It keeps none."""

    def check_user(self, user: str) -> None:
        """It knows none."""

    async def prepare(self, token: str, attempt: int, record: bytes) -> None:
        """A task that never runs needs no directory."""

    def rewrite_record(self, token: str, attempt: int, record: bytes, *, durable: bool = True) -> None:
        """Write as much as the daemon would; it calls this in a thread."""
        with self._record.open("wb") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())

    def cancel_unclaimed(self, token: str, attempt: int, incarnation: int, cause: Any) -> bool:
        return True

    def settle(self, token: str, attempt: int) -> None:
        """There is nothing of it."""

    def version(self, token: str) -> int:
        return 0

    def hot(self, token: str) -> bytes:
        return b""

    def is_open(self, token: str) -> bool:
        return False


def unpace() -> None:
    """Take the pacing away."""
    fanout.STREAMS_PER_TURN = 2**31
    fanout.TICK_SECONDS = 0.0
    fanout.TICK_SPACING = 0.0
    fanout.MOST_HOLDS = 0


async def main(*arguments: str) -> None:
    *switches, directory, key = arguments
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    if "unpaced" in switches:
        unpace()
    codec = ProtoCodec()
    store = StampedStore(Path(directory) / "bench.db", codec)
    nothing: Any = Nothing(Path(directory) / "record")
    service = Service(store=store, executor=nothing, meter=nothing, codec=codec, scheduler=Scheduler(1, 100_000))
    keyring = Keyring(OneKey(key))
    streams = EventStreams(service)
    facts: Any = None
    server = RpcServer(
        Router(Gate(Authenticator(keyring), OpenCalls(keyring, 100_000), None), Activity(time.monotonic)),
        TaskServicer(service, streams),
        ItemServicer(service),
        FileServicer(service),
        QueueServicer(service),
        ScheduleServicer(Schedules(service, keyring)),
        AdminServicer(service, keyring, facts, list, lambda: ""),
        streams,
    )
    now = time.time()
    spec = TaskSpec(argv=("true",), name="fan-out")
    task = Task(token=new_token(), spec=spec, spec_hash=b"h", create_time=now, queued_time=now, tags=spec.tags)
    [(task, _)] = await store.commit([change_of(task, [], spec=codec.encode_spec(spec))])
    payload = MetadataChanged({}, {"note": "x" * PAYLOAD_BYTES})
    server.listen_unix(Path(directory) / "bench.sock")
    await server.start()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    handed: Marks = []
    say_ready("grpc", f"unix:{directory}/bench.sock", token=task.token)

    async def emit(count: int) -> None:
        at, at_ns = time.time(), time.monotonic_ns()
        await store.commit([Change(task, tuple(Event(task.token, at, 1, {}, payload) for _ in range(count)))])
        handed.append((store.stamps[-1][0], at_ns))

    await obey(emit, marks=handed, committed=store.stamps)
    await server.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
