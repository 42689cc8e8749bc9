"""`websockets.broadcast` on uvloop: `broadcast.py events|blocks DIRECTORY KEY`; a message per event, or per block of events.

The server makes the events itself and stores nothing. It has no idea who its clients are.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, unix_serve

from bench.fanout.producer import obey, payload, say_ready

_BACKLOG = 2000


async def main(kind: str, directory: str) -> None:
    clients: set[ServerConnection] = set()

    async def serve(client: ServerConnection) -> None:
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    async def emit(count: int) -> None:
        event = payload()
        if kind == "blocks":
            broadcast(clients, b"\n".join([event] * count))
        else:
            for _ in range(count):
                broadcast(clients, event)
        await asyncio.sleep(0)

    path = f"{directory}/bench.sock"
    async with unix_serve(serve, path, compression=None, ping_interval=None, backlog=_BACKLOG):
        say_ready("websocket", f"unix:{path}")
        await obey(emit)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
