"""The daemon's store, hub, streams and server in one process that also makes events: `server.py DIRECTORY KEY`.

Nothing of the path from the transaction to the socket is another than the daemon's; only tasks are not run.
"""

from __future__ import annotations

import gc
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
from taskmeter.model.event import Event, MetadataChanged
from taskmeter.model.ids import new_token
from taskmeter.model.task import Task, TaskSpec
from taskmeter.rpc.admin_service import AdminServicer
from taskmeter.rpc.auth import Authenticator
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.file_service import FileServicer
from taskmeter.rpc.gate import Gate
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
    """What stands for executor and meter: no task runs here."""

    sizes: Any = None
    gpus: Any = None

    def version(self, token: str) -> int:
        return 0

    def hot(self, token: str) -> bytes:
        return b""

    def is_open(self, token: str) -> bool:
        return False


async def main(directory: str, key: str) -> None:
    codec = ProtoCodec()
    store = StampedStore(Path(directory) / "bench.db", codec)
    nothing: Any = Nothing()
    service = Service(store=store, executor=nothing, meter=nothing, codec=codec, scheduler=Scheduler(1, 10))
    keyring = Keyring(OneKey(key))
    streams = EventStreams(service)
    facts: Any = None
    server = RpcServer(
        Router(Gate(Authenticator(keyring), OpenCalls(keyring, 100_000), None), Activity(time.monotonic)),
        TaskServicer(service, streams),
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
