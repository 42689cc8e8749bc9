"""What of a file has been read and how reading goes on after the connection broke. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from taskmeter.errors import OutOfRangeError
from taskmeter.v1 import file_service_pb2 as files


@dataclass(frozen=True, slots=True)
class FileChunk:
    """Consecutive bytes of a file."""

    data: bytes
    offset: int
    """Position of the first byte of `data`."""
    size: int
    """Size of the file when this was read, in bytes."""
    end: bool
    """Nothing follows."""
    lost_bytes: int = 0
    """So many bytes right before `data` are no longer kept: the daemon bounds outputs."""


class TailState:
    """One logical read over any number of connections."""

    def __init__(self, request: files.ReadFileRequest) -> None:
        self._request = request
        self._left_bytes = request.max_bytes
        self._ended = False
        self.offset: int | None = None
        """Where the next byte is expected; None before the first message."""

    @property
    def ends_with_ok(self) -> bool:
        """Whether the daemon's OK is the end; without the last piece it is that of a daemon that shuts down."""
        return self._ended or not self._request.follow

    @property
    def silence_seconds(self) -> None:
        """A file that does not grow is silent for as long as it likes; keepalive pings find dead connections."""
        return None

    def next_request(self) -> files.ReadFileRequest:
        """Return the request for the next connection."""
        request = files.ReadFileRequest()
        request.CopyFrom(self._request)
        if self.offset is not None:
            request.ClearField("last_lines")
            request.offset = self.offset
            request.max_bytes = self._left_bytes
        return request

    def accept(self, response: files.ReadFileResponse) -> FileChunk:
        """Take one message in. Raises `OutOfRangeError` when bytes between this and the last one are gone."""
        lost_bytes = self._lost_bytes(response)
        if self.offset is not None and response.data and response.offset != self.offset and not lost_bytes:
            raise OutOfRangeError(
                f"{self._request.path} goes on at byte {response.offset}, not at {self.offset}",
                metadata={"offset": str(self.offset)},
            )
        if response.data or self.offset is None:
            self.offset = response.offset + len(response.data)
        if self._request.max_bytes:
            self._left_bytes -= len(response.data)
        self._ended = response.end or (self._request.max_bytes > 0 and self._left_bytes <= 0)
        return FileChunk(response.data, response.offset, response.size, self._ended, lost_bytes)

    def _lost_bytes(self, response: files.ReadFileResponse) -> int:
        """Bytes that should have come before these and were given up; unknown is none."""
        if not response.HasField("first_available_offset"):
            return 0
        expected = self.offset
        if expected is None:
            if self._request.HasField("last_lines"):
                return 0
            expected = self._request.offset
        return max(0, response.offset - expected) if expected < response.first_available_offset else 0
