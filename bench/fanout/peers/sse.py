"""Server-sent events: Starlette on uvicorn with uvloop and httptools, a queue per subscriber. `sse.py DIRECTORY KEY`.

The server makes the events itself and stores nothing; who lags 1,000 events holds it. What a queue has is one write.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from bench.fanout.producer import obey, payload, say_ready
from tests.waiting import wait_until_async

_MOST_WAITING = 1000
_BACKLOG = 2000


async def main(directory: str) -> None:
    queues: set[asyncio.Queue[bytes]] = set()

    async def follow() -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        queues.add(queue)
        try:
            yield b": ready\n\n"
            while True:
                due = [await queue.get()]
                while not queue.empty():
                    due.append(queue.get_nowait())
                yield b"".join(due)
        finally:
            queues.discard(queue)

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(follow(), media_type="text/event-stream")

    async def emit(count: int) -> None:
        event = b"data: %s\n\n" % payload()
        for _ in range(count):
            for queue in list(queues):
                if queue.full():
                    await queue.put(event)
                else:
                    queue.put_nowait(event)
        await asyncio.sleep(0)

    path = f"{directory}/bench.sock"
    app = Starlette(routes=[Route("/events", events)])
    config = uvicorn.Config(
        app, uds=path, log_level="error", access_log=False, http="httptools", lifespan="off", backlog=_BACKLOG
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    await wait_until_async(lambda: server.started, "uvicorn serves")
    say_ready("sse", f"unix:{path}")
    await obey(emit)
    server.force_exit = server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
