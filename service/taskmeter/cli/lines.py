"""Cut output into lines as a terminal would show them: a carriage return starts the line anew."""

from __future__ import annotations

import codecs
from collections import deque

from taskmeter.cli.text import escape

MAX_LINE_CHARS = 16_384
"""A line without an end is shown in pieces."""


class LineCutter:
    """Turns pieces of bytes into whole, safe lines and an unfinished last one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    @property
    def partial(self) -> str:
        """The line that has not ended yet, as it stands: a progress bar, a prompt."""
        return escape(_last_version(self._pending))

    def feed(self, data: bytes) -> list[str]:
        """Take bytes in and return the lines that have ended."""
        self._pending += self._decoder.decode(data)
        *ended, self._pending = self._pending.split("\n")
        while len(self._pending) > MAX_LINE_CHARS:
            self._pending = _last_version(self._pending)
            ended.append(self._pending[:MAX_LINE_CHARS])
            self._pending = self._pending[MAX_LINE_CHARS:]
        return [escape(_last_version(line)) for line in ended]

    def finish(self) -> list[str]:
        """Return what was left without an end of line."""
        self._pending += self._decoder.decode(b"", final=True)
        rest, self._pending = self._pending, ""
        return [escape(_last_version(rest))] if rest else []


class LastLines:
    """The newest lines of both outputs in the order in which they came."""

    def __init__(self, count: int) -> None:
        self.lines: deque[tuple[str, str]] = deque(maxlen=count)
        """(stream, line)."""
        self._cutters = {"stdout": LineCutter(), "stderr": LineCutter()}

    def feed(self, stream: str, data: bytes) -> list[tuple[str, str]]:
        """Take bytes in and return the lines that have ended."""
        ended = [(stream, line) for line in self._cutters[stream].feed(data)]
        self.lines.extend(ended)
        return ended

    def finish(self) -> list[tuple[str, str]]:
        """Return the lines that were left without an end."""
        ended = [(stream, line) for stream, cutter in self._cutters.items() for line in cutter.finish()]
        self.lines.extend(ended)
        return ended

    @property
    def partial(self) -> list[tuple[str, str]]:
        """The unfinished line of each output that has one."""
        return [(stream, cutter.partial) for stream, cutter in self._cutters.items() if cutter.partial]


def _last_version(line: str) -> str:
    """Return what a terminal would show of a line with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]
