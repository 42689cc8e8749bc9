"""The processes that are metered, and how many of them this machine allows."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SPARE_PIDS = 2000
"""Left to everybody else on this machine."""


def most_processes() -> int:
    """Return how many processes or threads may be started here, with some left to others."""
    used = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    limits = [int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max")]
    own = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if own != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is not bound by it (setrlimit(2))
        limits.append(own)
    return max(min(limits) - used - SPARE_PIDS, 0)


class Herd:
    """So many sleeping processes below `root`; `pids` are those directly below it, as many as could be started."""

    def __init__(self, program: str, count: int, *, threads: int = 1, children: int = 0) -> None:
        each = threads * (1 + children)
        self.asked_count = count
        allowed = min(count, most_processes() // each)
        # A process group of its own, so that Ctrl-C is ours alone to answer.
        self._process = subprocess.Popen(
            [program, str(allowed), str(threads), str(children)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=0,
        )
        self.root = self._process.pid
        self.pids = [int(pid) for pid in self._answer().split()]
        self.count = len(self.pids) * (1 + children)
        """How many processes there are, children included."""
        if not self.pids:
            self.close()
            raise OSError("no process can be started here")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"herd ended with {self._process.wait()}")
        return line

    def wake(self, count: int) -> None:
        """Have the first `count` run once, and wait until they have."""
        if count:
            assert self._process.stdin is not None
            self._process.stdin.write(f"0 {count}\n")
            self._process.stdin.flush()
            self._answer()

    def close(self) -> None:
        """End them all, and wait until they are gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
