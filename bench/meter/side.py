"""What is compared: each side looks at the processes when told to, and says what CPU time that took, user and system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol

from bench.meter.herd import Herd


class UnavailableError(Exception):
    """This side cannot run here; the message says why."""


class Side(Protocol):
    """One way to look at many processes."""

    name: str
    passes: int
    """So many looks give one measurement of an idle herd."""

    def cpu_ns(self, passes: int) -> int:
        """Look so often; return the CPU nanoseconds, user and system, of whoever looked."""

    def close(self) -> None:
        """End it."""


class Worker:
    """A side in a process of its own, with its own descriptors and caches, that is told to look by lines of text.

    The first line has the pids of the root and of the members; the answer is "ready", or "unavailable" and why. Each further
    line is a number of looks; the answer begins with their CPU nanoseconds.
    """

    def __init__(
        self, name: str, command: Sequence[str], herd: Herd, passes: int, *, pids: Sequence[int] = (), inherit: int | None = None
    ) -> None:
        self.name = name
        self.passes = passes
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            pass_fds=() if inherit is None else (inherit,),
        )
        try:
            answer = self._ask(" ".join(map(str, (herd.root, *(pids or herd.pids)))))
            if answer[0] != "ready":
                raise UnavailableError(" ".join(answer[1:]))
        except BaseException:
            self.close()
            raise

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        return answer

    def ask(self, count: float) -> list[int]:
        """Send a number and return what is answered."""
        return [int(value) for value in self._ask(str(count))]

    def cpu_ns(self, passes: int) -> int:
        return self.ask(passes)[0]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()
        self._process.stdout.close()


class Program:
    """A program that looks once and ends, its start included, as the kernel's rusage of it says (wait4(2))."""

    def __init__(self, name: str, command: list[str], package: str) -> None:
        self.name = name
        self.passes = 1
        self._command = command
        path = shutil.which(command[0])
        if path is None:
            raise UnavailableError(f"not installed: apt-get install {package}")
        self._path = path

    def cpu_ns(self, passes: int) -> int:
        used = 0.0
        for _ in range(passes):
            nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
            pid = os.posix_spawn(self._path, self._command, os.environ, file_actions=nowhere)
            _, status, usage = os.wait4(pid, 0)
            if status:
                raise RuntimeError(f"{self.name} failed: {os.waitstatus_to_exitcode(status)}")
            used += usage.ru_utime + usage.ru_stime
        return int(used * 1e9)

    def close(self) -> None:
        pass


class Sides:
    """Those sides that can run here, in the order in which they were added; the others with the reason why not."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.all: list[Side] = []
        self.missing: dict[str, str] = {}

    def add(self, name: str, make: Callable[[str], Side]) -> None:
        """Start one side."""
        try:
            side = make(name)
        except UnavailableError as error:
            self.missing[name] = str(error)
            return
        self._stack.callback(side.close)
        self.all.append(side)
