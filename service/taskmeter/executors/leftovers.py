"""Kill what a dead shim left behind: its orphans belong to init or another reaper, so they are known by cgroup or by marker."""

from __future__ import annotations

import os
from contextlib import suppress

from metercore import leftovers
from taskmeter.executors.cgroups import Places

PATIENCE_SECONDS = 5.0
"""How long to go on after those that fork ever new ones, or do not die."""


def kill_leftovers(cgroups: Places, token: str, attempt: int, directory: bytes = b"") -> int:
    """Kill what is left of an attempt, by its cgroups where it has some, else by the marks that its processes carry.

    Returns how many processes were killed; blocks until nobody lives or patience is over. A command has the marks in its
    initial environment. Between fork and exec it still is the image of its shim, whose argument is the attempt's `directory`.
    """
    paths = tuple(os.fsencode(path) + b"/cgroup.procs" for path in (cgroups.v2, *cgroups.v1) if path)
    killed = 0
    if cgroups.v2:
        killed = _kill_cgroup(cgroups.v2)
    name = f"{token}.{attempt}".encode()
    marks = (f"TASKMETER_TOKEN={token}".encode(), f"TASKMETER_ATTEMPT={attempt}".encode())
    rest = leftovers.kill_leftovers(paths, name, marks, b"taskmeter-shim\0%s\0" % directory, PATIENCE_SECONDS)
    return max(killed, rest)  # who is dying of the first is met by the second


def _kill_cgroup(path: str) -> int:
    """Kill all members at once through cgroup.kill (v2, Linux 5.14); returns how many those were, 0 where it does not exist."""
    with suppress(OSError), open(f"{path}/cgroup.procs", encoding="ascii") as members:
        count = len(members.readlines())
        if count:
            with open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
        return count
    return 0
