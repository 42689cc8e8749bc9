"""What this host has for tasks: cores and memory that the daemon itself may use, and the GPUs that the driver knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from taskmeter.model.resources import Capacity, Gpu

REFRESH_SECONDS = 1.0
CGROUPS = Path("/sys/fs/cgroup")


class HostCapacity:
    """Called, it returns the capacity; GPUs are looked at once a second, and remembered while their driver does not answer."""

    def __init__(self, gpus: Callable[[], tuple[Gpu, ...]]) -> None:
        self._gpus = gpus
        self._cpu_cores = cpu_cores()
        self._memory_bytes = memory_bytes()
        self._known = Capacity(self._cpu_cores, self._memory_bytes)
        self._next_look = 0.0

    def __call__(self) -> Capacity:
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + REFRESH_SECONDS
            gpus = self._gpus() or self._known.gpus
            if gpus != self._known.gpus:
                self._known = Capacity(self._cpu_cores, self._memory_bytes, gpus)
        return self._known


def cpu_cores(root: Path = CGROUPS) -> float:
    """Return how many cores the daemon may use: its affinity, and the lowest quota of the cgroups it is in (cpu.max)."""
    cores = float(len(os.sched_getaffinity(0)))
    for group in _own_groups(root):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
    return cores


def memory_bytes(root: Path = CGROUPS) -> int:
    """Return how much memory there is: MemTotal, or the lowest limit of the cgroups the daemon is in (memory.max)."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in _own_groups(root):
        limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def _own_groups(root: Path) -> Iterator[Path]:
    """Yield this process's cgroups in all hierarchies, and those above them."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers if controllers else root
        inner = mount / path.lstrip("/")
        for group in (inner, *inner.parents):
            yield group
            if group == mount:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
