"""What the fan-out is compared with: grpc.aio on uvloop, a queue per subscriber, one message per event.

`onebyone.py DIRECTORY KEY`.

The events are encoded once, kept nowhere, and of the same size; a subscriber that lags 1,000 events holds the producer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop

from bench.baseline import OneKey
from bench.fanout.producer import Marks, obey, say_ready
from taskmeter.core.keyring import Keyring
from taskmeter.rpc.auth import Authenticator
from taskmeter.v1 import event_pb2, item_pb2, task_service_pb2  # noqa: F401  # item: needed by event's descriptor pool

PATH = "/taskmeter.v1.TaskService/StreamEvents"
MOST_WAITING = 1000


async def main(directory: str, key: str) -> None:
    authenticator = Authenticator(Keyring(OneKey(key)))
    queues: set[asyncio.Queue[bytes]] = set()
    marks: Marks = []
    head = 0

    async def stream_events(_: bytes, context: Any) -> AsyncIterator[bytes]:
        authenticator.permit(PATH, authenticator.holder(context.invocation_metadata()))
        queue: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        queues.add(queue)
        try:
            yield task_service_pb2.StreamEventsResponse(bookmark=True).SerializeToString()
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    async def emit(count: int) -> None:
        nonlocal head
        for _ in range(count):
            head += 1
            event = event_pb2.Event(seq=head, time=time.time(), token="tk_0123456789abcdefghijkl")
            event.metadata_changed.metadata["note"] = "x" * 120
            message = task_service_pb2.StreamEventsResponse(events=[event], seq=head).SerializeToString()
            marks.append((head, time.monotonic_ns()))
            for queue in list(queues):
                if queue.full():
                    await queue.put(message)
                else:
                    queue.put_nowait(message)

    server = grpc.aio.server(options=(("grpc.max_concurrent_streams", 10_000),))
    handler: Any = grpc.unary_stream_rpc_method_handler(stream_events)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("taskmeter.v1.TaskService", {"StreamEvents": handler}),)
    )
    server.add_insecure_port(f"unix:{directory}/bench.sock")
    await server.start()
    say_ready("grpc", f"unix:{directory}/bench.sock")
    await obey(emit, marks=marks)
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
