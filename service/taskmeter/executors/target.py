"""Find the process that is to be attached, and see whether it may be: it is ours, it lives, and it is nobody's task yet."""

from __future__ import annotations

import errno
import os

from taskmeter.core.ports import Found
from taskmeter.errors import InvalidArgumentError, PreconditionError
from taskmeter.model.task import Attach, Target

FIELD = "spec.attach.pid"
MAX_NAME_CHARACTERS = 64

_COMM_BYTES = 15
"""TASK_COMM_LEN of Linux (include/linux/sched.h), without its NUL."""
_PF_KTHREAD = 0x00200000
_NEEDED_CAPABILITIES = 1 << 5 | 1 << 19
"""CAP_KILL to stop and CAP_SYS_PTRACE to read what belongs to another user (include/uapi/linux/capability.h)."""
_MAX_DEPTH = 100_000


def identify(attach: Attach, *, boot_id: str, shims: frozenset[int], task_uid: int | None) -> Found:
    """Look at the process and at who is above it.

    `shims`: the supervisors of this daemon's tasks. `task_uid`: whom tasks run as, if not as the daemon: then only what belongs
    to that user may be attached, whatever the daemon could do. Raises as `core.ports.Executor.identify`.
    """
    pid = attach.pid
    stat, status = _read(pid, "stat"), _status(pid)
    fields = stat.rpartition(b")")[2].split()  # from field 3 on; comm may hold anything, so they count from the last ")"
    if len(fields) < 20 or not status:
        raise _invalid("there is no process with this pid")
    if status["Tgid"] != [str(pid)]:
        raise _invalid("is the id of a thread, not of a process")
    if pid == 1:
        raise _invalid("is the first process of the host, which everything descends from")
    if int(fields[6]) & _PF_KTHREAD:
        raise _invalid("is a thread of the kernel")
    if fields[0] in (b"Z", b"X"):
        raise _invalid("the process has ended")
    if pid == os.getpid():
        raise _invalid("is this daemon")
    if pid in shims:
        raise _invalid("is the supervisor of a task")
    _check_user(pid, status, task_uid)
    above = ancestors_of(pid)
    if shims & above:
        raise PreconditionError("the process belongs to a task of this daemon", reason="UNSUPPORTED_HERE")
    if attach.include_descendants and pid in ancestors_of(os.getpid()):
        raise PreconditionError(
            "this daemon descends from that process", reason="UNSUPPORTED_HERE", hint="attach it without its descendants"
        )
    _check_kernel(pid)
    return Found(Target(pid, int(fields[19]), boot_id), _name(pid), above)


def ancestors_of(pid: int) -> frozenset[int]:
    """Return the pids of its parent, grandparent and so on; without those of other pid namespaces."""
    found: set[int] = set()
    while len(found) < _MAX_DEPTH:
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
        if pid == 0 or pid in found:
            break
        found.add(pid)
    return frozenset(found)


def _invalid(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{FIELD}: {problem}", fields=[(FIELD, problem)])


def _check_user(pid: int, status: dict[str, list[str]], task_uid: int | None) -> None:
    uids = {int(uid) for uid in status["Uid"][:3]}  # real, effective, saved
    if uids == {os.geteuid() if task_uid is None else task_uid}:
        return
    if task_uid is None and _capabilities() & _NEEDED_CAPABILITIES == _NEEDED_CAPABILITIES:
        return
    raise PreconditionError(
        f"process {pid} belongs to another user than {'this daemon' if task_uid is None else 'the tasks of this daemon'}",
        reason="UNSUPPORTED_HERE",
        hint="attach it with a daemon that runs as that user",
    )


def _check_kernel(pid: int) -> None:
    try:
        os.close(os.pidfd_open(pid))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            return  # it has ended meanwhile, or there is no descriptor left: the attempt will say so
        raise PreconditionError("attaching needs Linux 5.3 or newer (pidfd)", reason="UNSUPPORTED_HERE") from error


def _name(pid: int) -> str:
    """Its command name. The kernel cuts it; what was cut off is taken from argv[0], and no further argument is looked at."""
    name = _read(pid, "comm").removesuffix(b"\n")
    if len(name) == _COMM_BYTES:
        full = os.path.basename(_read(pid, "cmdline").partition(b"\0")[0])
        name = full if full.startswith(name) else name
    text = name.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_NAME_CHARACTERS]


def _capabilities() -> int:
    return int(_status(os.getpid())["CapEff"][0], 16)


def _status(pid: int) -> dict[str, list[str]]:
    lines = (line.partition(":") for line in _read(pid, "status").decode("utf-8", "replace").splitlines())
    return {name: value.split() for name, _, value in lines}


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
