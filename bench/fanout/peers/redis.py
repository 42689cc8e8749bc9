"""Redis in memory, without a journal: `redis.py stream|pubsub DIRECTORY KEY`.

Streams: XADD, and readers that block in XREAD, which has all that is new; pub/sub: PUBLISH, a message per event, at most once.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bench.fanout.peers import child
from bench.fanout.producer import obey, payload, say_ready
from tests.waiting import wait_until

_KEPT_EVENTS = 100_000
_OPTIONS = ("--port", "0", "--save", "", "--appendonly", "no", "--maxclients", "2000")
_NO_CUT = ("--client-output-buffer-limit", "pubsub 0 0 0", "--client-output-buffer-limit", "normal 0 0 0")
"""A reader that is behind is not cut off."""


async def main(kind: str, directory: str) -> None:
    path = Path(directory) / "redis.sock"
    with child.server(directory, "redis-server", *_OPTIONS, *_NO_CUT, "--dir", directory, "--unixsocket", str(path)) as server:
        wait_until(path.exists, "Redis listens")
        reader, writer = await asyncio.open_unix_connection(str(path))
        command = (b"PUBLISH", b"ev") if kind == "pubsub" else (b"XADD", b"ev", b"MAXLEN", b"~", b"%d" % _KEPT_EVENTS, b"*", b"e")

        async def emit(count: int) -> None:
            words = (*command, payload())
            writer.write((b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)) * count)
            for _ in range(count):
                line = await reader.readline()
                assert line[:1] in b":$", line
                if line[:1] == b"$":  # the id of an entry
                    await reader.readline()

        say_ready(f"redis-{kind}", f"unix:{path}", server.pid)
        await obey(emit, server=server.pid)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
