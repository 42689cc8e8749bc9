"""Kill what a dead shim left behind. Its orphans now belong to init or another reaper, so they are known by cgroup or by marker.

Every signal goes through a pidfd, and membership is checked again after it was opened: a recycled pid is never hit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from taskmeter.executors.cgroups import Places

STABLE_SECONDS = 1.0
"""How long to go on stopping new processes before killing what is known; the caller's loop waits meanwhile."""

EXEC_TRIES = 10
EXEC_PAUSE_SECONDS = 0.002
"""How often, and after which pause, a process is looked at again that is in the middle of an exec."""


def kill_cgroup(path: str) -> bool:
    """Kill all members at once through cgroup.kill (v2, Linux 5.14); False where that does not exist."""
    try:
        with open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
            file.write("1")
    except OSError:
        return False
    return True


def members(cgroup: str) -> set[int]:
    """Return the pids in a cgroup; empty when it does not exist."""
    try:
        with open(f"{cgroup}/cgroup.procs", encoding="ascii") as file:
            return {int(line) for line in file}
    except OSError:
        return set()


def marked(token: str, attempt: int, directory: bytes = b"") -> set[int]:
    """Return the pids that carry the marks of this attempt, as far as we may read them, and all that descend from them.

    A command has them in its initial environment. Between fork and exec it still is the image of its shim, whose argument is
    the attempt's `directory`.
    """
    marks = {f"TASKMETER_TOKEN={token}".encode(), f"TASKMETER_ATTEMPT={attempt}".encode()}
    shim = b"taskmeter-shim\0%s\0" % directory
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
    found = {pid for pid in pids if _is_marked(pid, marks, shim)}
    if found:
        parents = {pid: parent_of(pid) for pid in pids - found}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
    return found


def _is_marked(pid: int, marks: set[bytes], shim: bytes) -> bool:
    """The command line first: whoever execs in between has its environment by the time that is read.

    In the middle of an exec both are empty, as those of zombies and of the kernel's own threads are for ever.
    """
    for _ in range(EXEC_TRIES):
        line = _read(f"/proc/{pid}/cmdline")
        if line == shim:
            return True
        environment = _read(f"/proc/{pid}/environ")
        if line or environment or not _is_executing(pid):
            return marks <= set(environment.split(b"\0"))
        time.sleep(EXEC_PAUSE_SECONDS)
    return False


def _is_executing(pid: int) -> bool:
    """Whether it has memory of its own (`vsize`, field 23) although it shows neither arguments nor environment."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return len(fields) > 20 and fields[20] != b"0"


def parent_of(pid: int) -> int:
    """Return the parent's pid, 0 when the process is gone. comm may hold anything, so fields count from the last ")"."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def kill_all(find: Callable[[], set[int]]) -> int:
    """Stop everything `find` returns until it finds nothing new, then kill it; returns how many were killed."""
    held: dict[int, int] = {}
    deadline = time.monotonic() + STABLE_SECONDS
    try:
        while time.monotonic() < deadline:
            fresh = find() - held.keys()
            if not fresh:
                break
            opened = {pid: pidfd for pid in fresh if (pidfd := _open(pid)) >= 0}
            held |= opened
            # Asked again after opening: whoever has the pid now is whom the descriptor means, or that one is dead.
            for pid in opened.keys() - find():
                os.close(held.pop(pid))
            for pid in opened.keys() & held.keys():
                _send(held[pid], signal.SIGSTOP)
        killed = 0
        for pidfd in held.values():
            killed += _send(pidfd, signal.SIGKILL)
        return killed
    finally:
        for pidfd in held.values():
            os.close(pidfd)


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _send(pidfd: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return False
    return True


def kill_leftovers(cgroups: Places, token: str, attempt: int, directory: bytes = b"") -> int:
    """Kill what is left of an attempt: by its cgroups where it has some, else by the marks that its processes carry."""
    killed = 0
    if cgroups.v2:
        killed = len(members(cgroups.v2))
        if killed and not kill_cgroup(cgroups.v2):
            killed = kill_all(lambda: members(cgroups.v2))
    for path in cgroups.v1:
        killed += kill_all(lambda path=path: members(path))  # type: ignore[misc]
    if not any(cgroups):
        killed = kill_all(lambda: marked(token, attempt, directory))
    return killed
