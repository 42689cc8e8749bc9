"""Processes that run before anybody meters them, for the tests of attaching."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.waiting import wait_until

IGNORES_TERM = "trap '' TERM; echo up; while :; do read -r _; done"
"""For sh: says `up`, then cannot be ended gently."""


class Targets:
    """Starts processes in sessions of their own; what is left of them is killed at the end."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command; its stdin and stdout are pipes, so that it can be told to go on and can tell that it has."""
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True, **options
        )
        self._started.append(process)
        return process

    def shell(self, script: str, **options: Any) -> subprocess.Popen[str]:
        return self.start("/bin/sh", "-c", script, **options)

    def python(self, code: str, **options: Any) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-S", "-c", code, **options)


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line that a target says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a target that reads a line read one."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_dead(*pids: int) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), f"{pids} have ended")
