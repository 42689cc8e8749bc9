"""NATS (core, at most once): a subject, a message per event. `nats.py DIRECTORY KEY`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from bench import harness
from bench.fanout.peers import child
from bench.fanout.producer import obey, payload, say_ready
from tests.waiting import wait_until

_CONFIGURATION = "max_pending: 2GB\nwrite_deadline: 60s\n"
"""A reader that is behind is not cut off."""


async def main(directory: str) -> None:
    port = harness.free_port()
    configuration = Path(directory) / "nats.conf"
    configuration.write_text(_CONFIGURATION)
    program = shutil.which("nats-server") or "/usr/sbin/nats-server"
    with child.server(directory, program, "-a", "127.0.0.1", "-p", str(port), "-c", str(configuration)) as server:
        wait_until(lambda: harness.listens(port), "NATS listens")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'CONNECT {"verbose":false,"pedantic":false,"lang":"python","version":"1"}\r\n')

        async def emit(count: int) -> None:
            event = payload()
            writer.write(b"PUB ev %d\r\n%s\r\n" % (len(event), event) * count + b"PING\r\n")
            while not (line := await reader.readline()).startswith(b"PONG"):  # it has taken them all
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
                assert line[:1] in b"IP", line

        say_ready("nats", f"tcp:{port}", server.pid)
        await obey(emit, server=server.pid)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
