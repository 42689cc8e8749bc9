"""A way to a daemon's unix socket that can be cut, frozen and thawed."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from pathlib import Path
from typing import Self


class Proxy:
    """Forwards a unix socket to another one, in one thread.

    with Proxy(tmp_path / "p.sock", upstream) as proxy:
        client = SyncClient(proxy.target, key=key)
        proxy.cut()
    """

    def __init__(self, path: Path, upstream: str) -> None:
        self.target = f"unix:{path}"
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._wake, self._woken = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._orders: list[str] = []
        self._frozen = False
        self._done = threading.Event()
        self.connection_count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._order("end")
        self._thread.join(10)

    def cut(self) -> None:
        """Break every connection there is."""
        self._order("cut")

    def freeze(self) -> None:
        """Let nothing through any more, on connections that stay open."""
        self._order("freeze")

    def thaw(self) -> None:
        """Break what was frozen and serve new connections again."""
        self._order("thaw")

    def _order(self, order: str) -> None:
        self._done.clear()
        self._orders.append(order)
        self._wake.send(b"x")
        assert self._done.wait(10)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._woken, *([] if self._frozen else [self._listener, *self._peers])], [], [])
            if self._woken in ready:
                self._woken.recv(1)
                if self._obey(self._orders.pop(0)):
                    return
                continue
            for each in ready:
                if each is self._listener:
                    self._accept()
                elif each in self._peers:
                    self._forward(each)

    def _obey(self, order: str) -> bool:
        self._frozen = order == "freeze"
        if order != "freeze":
            for each in list(self._peers):
                self._close(each)
        if order == "end":
            for each in (self._listener, self._wake, self._woken):
                each.close()
        self._done.set()
        return order == "end"

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._upstream)
        except OSError:
            client.close()
            server.close()
            return
        self.connection_count += 1
        self._peers[client], self._peers[server] = server, client

    def _forward(self, source: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(1 << 16)
            if data:
                self._peers[source].sendall(data)
        if not data:
            self._close(source)

    def _close(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        if other is not None:
            self._peers.pop(other, None)
            one.close()
            other.close()
