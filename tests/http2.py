"""HTTP/2 by hand over a raw socket: sends what no client library would, and reads only when it is told to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from typing import Self

from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16384
"""The largest frame that a peer takes which has not said otherwise (RFC 9113, 4.2)."""
CANCEL = 8
INITIAL_WINDOW_SIZE = SettingsFrame.INITIAL_WINDOW_SIZE
CONNECT_SECONDS = 5.0


def connect(target: str) -> socket.socket:
    """Connect to `unix:PATH` or HOST:PORT."""
    path = target.removeprefix("unix:")
    if path != target:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(CONNECT_SECONDS)
        made.connect(path)
        return made
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)), CONNECT_SECONDS)


def headers_of(path: str, key: str = "", **more: str) -> list[tuple[str, str]]:
    """The headers of a gRPC request."""
    found = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more.items(),
    ]
    return [*found, ("authorization", f"Bearer {key}")] if key else found


def encode(headers: Iterable[tuple[str, str]]) -> bytes:
    """Encode headers so that the bytes mean the same wherever on a connection they stand: nothing enters its table."""
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in headers], huffman=False)


def opening(stream_id: int, block: bytes, *, end: bool = False) -> bytes:
    """HEADERS, and as many CONTINUATIONs as they need."""
    parts = [block[start : start + FRAME_BYTES] for start in range(0, len(block), FRAME_BYTES)]
    frames: list[Frame] = [HeadersFrame(stream_id, parts[0], flags=["END_STREAM"] if end else [])]
    frames += [ContinuationFrame(stream_id, part) for part in parts[1:]]
    frames[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in frames)


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    """DATA, in as many frames as it needs."""
    parts = [payload[start : start + FRAME_BYTES] for start in range(0, len(payload), FRAME_BYTES)] or [b""]
    frames = [DataFrame(stream_id, part) for part in parts]
    if end:
        frames[-1].flags.add("END_STREAM")
    return b"".join(frame.serialize() for frame in frames)


def message(body: bytes, length: int | None = None) -> bytes:
    """A gRPC message, with its true length unless told otherwise."""
    return b"\0" + (len(body) if length is None else length).to_bytes(4, "big") + body


def reset(stream_id: int) -> bytes:
    return RstStreamFrame(stream_id, CANCEL).serialize()


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(settings=values or {}).serialize()


class Raw:
    """One connection. What is sent to a peer that has hung up raises `OSError`."""

    def __init__(self, target: str, values: dict[int, int] | None = None, *, greet: bool = True) -> None:
        """Say the preface and the settings, unless `greet` is false."""
        self._socket = connect(target)
        self._next_id = 1
        self._rest = b""
        if greet:
            self.send(PREFACE + settings(values))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def stream_ids(self, count: int) -> Iterator[int]:
        """Take so many new ids."""
        first, self._next_id = self._next_id, self._next_id + 2 * count
        return iter(range(first, self._next_id, 2))

    def send(self, sent: bytes, seconds: float = CONNECT_SECONDS) -> None:
        """Raises `TimeoutError`, an `OSError`, when the peer does not take it in this time."""
        self._socket.settimeout(seconds)
        self._socket.sendall(sent)

    def read(self, seconds: float) -> bytes | None:
        """Return what has come, as it is; None when the peer has hung up, nothing when nothing came in time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1 << 16) or None
        except TimeoutError:
            return b""
        except OSError:
            return None

    def frames(self, seconds: float) -> Iterator[Frame]:
        """Yield what comes until the peer hangs up or nothing has come for `seconds`."""
        while found := self.read(seconds):
            self._rest += found
            while len(self._rest) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._rest[:9]))
                if len(self._rest) < 9 + length:
                    break
                frame.parse_body(memoryview(self._rest[9 : 9 + length]))
                self._rest = self._rest[9 + length :]
                yield frame
