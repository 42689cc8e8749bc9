"""A program on a terminal of its own, as a user would sit before it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Self

_OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """`taskmeter ARGUMENTS` on a pseudo-terminal; it is killed by `close` if it has not ended.

    with Terminal(["run", "--", "true"], env) as terminal:
        terminal.expect("succeeded")
        assert terminal.code() == 0
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], *, columns: int = 120, rows: int = 40) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        command = [sys.executable, "-c", _OWN_TERMINAL, sys.executable, "-m", "taskmeter", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**env, "TERM": "xterm-256color"}, close_fds=True
        )
        os.close(slave)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def text(self) -> str:
        """All that was written so far, without the terminal's own sequences."""
        return _SEQUENCES.sub("", self.raw)

    def expect(self, text: str, seconds: float = 30.0) -> None:
        """Read until `text` has been written."""
        deadline = monotonic() + seconds
        while text not in self.text:
            assert self._read(deadline - monotonic()), f"{text!r} did not come; this did:\n{self.text}"

    def expect_again(self, text: str, seconds: float = 30.0) -> None:
        """Read until `text` is written once more."""
        count = self.text.count(text)
        deadline = monotonic() + seconds
        while self.text.count(text) <= count:
            assert self._read(deadline - monotonic()), f"{text!r} did not come again; this did:\n{self.text}"

    def type(self, keys: str) -> None:
        """Press keys; \\x03 is Ctrl-C."""
        os.write(self._master, keys.encode())

    def code(self, seconds: float = 30.0) -> int:
        """Read to the end and return the exit code."""
        deadline = monotonic() + seconds
        while self._read(deadline - monotonic()):
            pass
        return self.process.wait(max(deadline - monotonic(), 1.0))

    def close(self) -> None:
        """Let go of the terminal, and of the program."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Read what is there; False at the end, or when nothing came in time."""
        if not select.select([self._master], [], [], max(seconds, 0.0))[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.raw += self._decoder.decode(data)
        return bool(data)
