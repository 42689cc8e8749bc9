"""A way to a daemon's socket on which everything can happen that happens on networks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

READ_BYTES = 1 << 16
ORDER_SECONDS = 10.0


class Pace(Protocol):
    """How fast bytes go through."""

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        """Cut `data` up; each piece with how many seconds pass after it."""


class Whole:
    """At once, as they came."""

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        yield data, 0.0


class Slow:
    """So many bytes a second, ten times a second."""

    def __init__(self, bytes_per_second: int) -> None:
        self._piece_bytes = bytes_per_second // 10

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        for start in range(0, len(data), self._piece_bytes):
            yield data[start : start + self._piece_bytes], 0.1


class Late:
    """Everything after a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        yield b"", self._seconds
        yield data, 0.0


class Bytewise:
    """Each byte by itself."""

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        for start in range(len(data)):
            yield data[start : start + 1], 0.0


class Link:
    """One connection through the proxy: the end of the client, and that of the daemon."""

    def __init__(self, client: asyncio.StreamWriter, daemon: asyncio.StreamWriter) -> None:
        self.client = client
        self.daemon = daemon
        self.is_lost = False
        """What is sent is lost from now on, and neither side is told."""

    def end(self) -> None:
        for each in (self.client, self.daemon):
            each.transport.abort()


class Proxy:
    """Forwards a unix socket, or a free port of this host, to a daemon's target; in a thread of its own.

    with Proxy(tmp_path / "p.sock", daemon.target) as proxy:
        client = SyncClient(proxy.target, key=key)
        proxy.cut()
    """

    def __init__(self, path: Path | None, upstream: str, pace: Pace | None = None) -> None:
        """Listen on `path`, on a port if it is None. `upstream`: `unix:PATH`, PATH or HOST:PORT."""
        self.target = f"unix:{path}"
        self.connection_count = 0
        self._path = path
        self._upstream = upstream
        self._pace = pace or Whole()
        self._links: set[Link] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._order(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._order(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ORDER_SECONDS)
        self._loop.close()

    def cut(self) -> None:
        """Break every connection there is; both sides are told."""
        self._order(self._cut())

    def half_open(self, *, told: str) -> None:
        """Break every connection there is; only one side is `told`: "client" or "daemon". The other sends into the void."""
        self._order(self._half_open(told))

    def lose(self) -> None:
        """Let nothing through on the connections there are, and tell nobody; new ones are served."""
        self._order(self._lose())

    def freeze(self) -> None:
        """Let nothing through any more, on connections that stay open; new ones are not answered."""
        self._order(self._freeze())

    def thaw(self) -> None:
        """Break what was frozen and serve new connections again."""
        self._order(self._thaw())

    def _order(self, order: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(order, self._loop).result(ORDER_SECONDS)

    # ------------------------------------------------------------------------------------------------ in its thread

    async def _listen(self) -> None:
        self._open.set()
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._path, backlog=4096)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=4096)
            host, port = self._server.sockets[0].getsockname()
            self.target = f"{host}:{port}"

    async def _end(self) -> None:
        self._server.close()
        await self._cut()
        for each in tuple(self._pumps):
            each.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _cut(self) -> None:
        for each in tuple(self._links):
            each.end()
        self._links.clear()

    async def _half_open(self, told: str) -> None:
        for each in self._links:
            each.is_lost = True
            (each.client if told == "client" else each.daemon).transport.abort()

    async def _lose(self) -> None:
        for each in self._links:
            each.is_lost = True

    async def _freeze(self) -> None:
        self._open.clear()

    async def _thaw(self) -> None:
        await self._cut()
        self._open.set()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        await self._open.wait()
        host, _, port = self._upstream.rpartition(":")
        try:
            if host and host != "unix":
                from_daemon, to_daemon = await asyncio.open_connection(host, int(port))
            else:
                from_daemon, to_daemon = await asyncio.open_unix_connection(port)
        except OSError:
            to_client.transport.abort()
            return
        self.connection_count += 1
        link = Link(to_client, to_daemon)
        self._links.add(link)
        for reader, writer in ((from_client, to_daemon), (from_daemon, to_client)):
            pump = self._loop.create_task(self._pump(link, reader, writer))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._open.wait()
                for piece, seconds in self._pace.pieces(data):
                    if link.is_lost:
                        break
                    writer.write(piece)
                    await writer.drain()
                    if seconds:
                        await asyncio.sleep(seconds)
        if not link.is_lost:
            link.end()
            self._links.discard(link)
