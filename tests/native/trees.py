"""Real process trees under a real shim, with or without cgroups, for the sampler to meter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metercore.reading import Reading
from metercore.sampler import Sampler
from taskmeter.executors import cgroups, taskdir
from tests.native.shim.direct import block_for, make_attempt, start_shim
from tests.waiting import wait_until

MIB = 2**20
STORE = f"test{os.getpid()}"


@dataclass(slots=True)
class Tree:
    """A command under a shim; `directory` is its attempt directory, cgroup paths are "" where there are none."""

    directory: Path
    shim: subprocess.Popen[bytes]
    main_pid: int
    cgroup_v2: str
    cgroup_v1_memory: str
    cgroup_v1_cpuacct: str
    bases: cgroups.Cgroups
    main: int = field(default=-1)

    def open(self, sampler: Sampler, **more: Any) -> int:
        """Start metering it."""
        return sampler.open(
            self.shim.pid,
            self.main_pid,
            str(self.directory),
            cgroup_v2=self.cgroup_v2,
            cgroup_v1_memory=self.cgroup_v1_memory,
            cgroup_v1_cpuacct=self.cgroup_v1_cpuacct,
            **more,
        )

    def wait_for(self, name: str, seconds: float = 30.0) -> str:
        """Wait until the command has written a file `name` in its working directory, and return what it says."""
        path = self.directory / "task" / "work" / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"{name} is written", seconds)
        return path.read_text()

    def end(self) -> taskdir.Gone:
        """Kill the main process, unless it has ended, and wait until the tree is empty; return what the shim recorded."""
        try:
            signal.pidfd_send_signal(self.main, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.gone()

    def gone(self, seconds: float = 30.0) -> taskdir.Gone:
        """Wait until the tree is empty; return what the shim recorded."""
        self.shim.communicate(timeout=seconds)
        gone = taskdir.unpack_gone((self.directory / "gone").read_bytes())
        assert gone is not None
        assert gone.final
        return gone

    def close(self) -> None:
        if self.shim.poll() is None:
            self.end()
        self.shim.communicate()
        os.close(self.main)
        for path in (self.cgroup_v2, self.cgroup_v1_memory, self.cgroup_v1_cpuacct):
            if path:
                wait_until(lambda path=path: _removed(path), f"{path} is removed")  # type: ignore[misc]
        for base in self.bases.bases:
            _removed(base)


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def plant(directory: Path, *argv: str, cgroup: str = "off", env: dict[str, str] | None = None) -> Tree:
    """Start a command under a shim and wait until it runs; `cgroup` as in the daemon's settings."""
    directory.mkdir(parents=True, exist_ok=True)
    bases = cgroups.discover(directory, f"{STORE}-{directory.name}", cgroup)
    places = bases.paths("tk_tree", 0)
    for path in filter(None, places):
        os.mkdir(path)
    attempt = make_attempt(directory / "attempt")
    (attempt / "task" / "report").touch()
    environment = {"PATH": os.environ["PATH"], "TASKMETER_TASK_DIR": str(attempt / "task"), **(env or {})}
    block = block_for(
        attempt,
        *argv,
        env=[f"{name}={value}".encode() for name, value in environment.items()],
        cgroup_v2=places.v2.encode(),
        cgroup_v1=[path.encode() for path in places.v1],
        grace_ns=10**8,
    )
    shim = start_shim(attempt, block)
    wait_until(lambda: (attempt / "pid").exists() or shim.poll() is not None, "the command runs")
    record = wait_until(lambda: taskdir.unpack_pid((attempt / "pid").read_bytes()), "its record is whole")
    assert record is not None
    try:
        main = os.pidfd_open(record.pid)
    except ProcessLookupError:
        main = os.open("/dev/null", os.O_RDONLY)
    return Tree(attempt, shim, record.pid, *places[:3], bases, main)


def python(code: str) -> tuple[str, ...]:
    """The command that runs `code` without site packages."""
    return (sys.executable, "-S", "-c", code)


def reading_when(sampler: Sampler, handle: int, condition: Any, what: str, seconds: float = 30.0) -> Reading:
    """Tick until a reading satisfies `condition`, and return it."""

    def look() -> Reading | None:
        sampler.tick()
        reading = sampler.read(handle)
        return reading if condition(reading) else None

    reading = wait_until(look, what, seconds)
    assert reading is not None
    return reading
