"""Hold a task to its resources: what its cgroups must say before its first process enters them, and its rlimits.

Memory is bounded with swap, so that a task that needs too much ends instead of crawling; CPU is a quota per 100 ms, which slows
and never ends; processes and threads are counted together, and one more is refused (fork says EAGAIN).
"""

from __future__ import annotations

import errno
import os
import resource

from taskmeter.executors.cgroups import Cgroups, Places
from taskmeter.model.resources import Resources

CPU_PERIOD_US = 100_000
"""The kernel's default; a quota below 1 ms is refused by it."""
MIN_QUOTA_US = 1000

RLIMITS: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")
}
"""By the names of setrlimit(2) without RLIMIT_, in small letters."""


def missing(cgroups: Cgroups, resources: Resources) -> str:
    """Say what of `resources` nobody can be held to below these bases; "" when everything can."""
    if not resources.enforce:
        return ""
    lacking = [
        name
        for name, wanted, controller, v1 in (
            ("memory", resources.memory_bytes, "memory", cgroups.v1_memory),
            ("CPU", resources.cpu_cores, "cpu", cgroups.v1_cpu),
            ("processes", resources.max_processes, "pids", cgroups.v1_pids),
        )
        if wanted and not v1 and controller not in cgroups.v2_controllers
    ]
    return " and ".join(lacking)


def places_for(cgroups: Cgroups, token: str, attempt: int, resources: Resources) -> Places:
    """Return the cgroups of a new attempt: those of metering, and those that it needs for its limits."""
    places = cgroups.paths(token, attempt)
    if not resources.enforce:
        return places
    name = f"{token}.{attempt}"
    if resources.max_processes and cgroups.v1_pids:
        places = places._replace(v1_pids=f"{cgroups.v1_pids}/{name}")
    if resources.cpu_cores and cgroups.v1_cpu:
        places = places._replace(v1_cpu=f"{cgroups.v1_cpu}/{name}")
    return places


def apply(places: Places, resources: Resources) -> None:
    """Make the cgroups that carry limits and write these. Raises `OSError`; then the task must not run.

    A handful of writes to cgroup files, which the kernel answers from memory: done in place.
    """
    if not resources.enforce:
        return
    for path in filter(None, places):  # all: a launch without one of them would be a launch without limits
        _make(path)
    if resources.memory_bytes:
        if places.v1_memory:
            _write(places.v1_memory, "memory.limit_in_bytes", resources.memory_bytes)
            _write(places.v1_memory, "memory.memsw.limit_in_bytes", resources.memory_bytes, optional=True)
        else:
            _write(places.v2, "memory.max", resources.memory_bytes)
            _write(places.v2, "memory.swap.max", 0, optional=True)
    if resources.max_processes:
        _write(places.v1_pids or places.v2, "pids.max", resources.max_processes)
    if resources.cpu_cores:
        quota = max(MIN_QUOTA_US, round(resources.cpu_cores * CPU_PERIOD_US))
        if places.v1_cpu:
            _write(places.v1_cpu, "cpu.cfs_period_us", CPU_PERIOD_US)
            _write(places.v1_cpu, "cpu.cfs_quota_us", quota)
        else:
            _write(places.v2, "cpu.max", f"{quota} {CPU_PERIOD_US}")


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass  # a launch that was tried before


def _write(place: str, name: str, value: int | str, *, optional: bool = False) -> None:
    """`optional`: some kernels count no swap, and have no such file."""
    if not place:
        raise OSError(errno.EOPNOTSUPP, "no cgroup can be had that holds it to its limits")
    try:
        with open(f"{place}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))
    except FileNotFoundError:
        if not optional:
            raise


def rlimits_of(asked: dict[str, int], default: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) for the launch block; what a spec asks for replaces the daemon's own. -1 = no limit."""
    limits = {number: (soft, hard) for number, soft, hard in default}
    limits.update({RLIMITS[name]: (value % 2**64, value % 2**64) for name, value in asked.items()})
    return tuple((number, *both) for number, both in limits.items())
