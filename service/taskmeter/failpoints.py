"""Named places where a test can make this process die, pause or fail; nothing at all unless armed by the environment.

`TASKMETER_FAILPOINTS="submit.before_commit=crash*1;events.after_read=sleep(20)"`, read once at import. Each entry is
NAME=ACTION, with *COUNT for how often (default: always) and +SKIP for how many times it is passed unharmed before. Actions:

- crash: SIGKILL to this process
- sleep(MILLISECONDS): block the calling thread, 20 ms without a number
- stop: SIGSTOP to this process, which goes on when somebody continues it
- error: raise `FailpointError`
- execute-then-error: let the operation happen and raise after it; only where one is enclosed, that is where `hit_after` stands

Names that begin with `shim.`, and those of `IN_SHIM`, happen in the task's supervisor: each launch asks `for_shim` once, and
what it answers travels in the launch block. There `error` is an orderly exit, and a sleep takes 50 ms, or 10 s if it is of a
second or more.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable
from enum import IntEnum
from threading import Lock

from msgspec import Struct

VARIABLE = "TASKMETER_FAILPOINTS"
SLEEP_MILLISECONDS = 20.0
STALL_SECONDS = 1.0
AFTER_REPLY_SECONDS = 0.002
"""After a handler's return the answer is on its way by then."""

NAMES = (
    "submit.before_tx",
    "submit.before_commit",
    "submit.after_commit",
    "submit.after_reply",
    "launch.before_mkdir",
    "launch.after_mkdir",
    "launch.after_spawn",
    "reconcile.after_claim",
    "reconcile.after_lock",
    "reconcile.after_gone",
    "reconcile.after_exit",
    "reconcile.after_pid",
    "stop.before_order",
    "ingest.after_read",
    "ingest.before_commit",
    "events.after_read",
    "events.at_compaction",
    "retention.before_delete",
    "retention.after_delete",
)
"""Those of the daemon; each stands in the sources as `hit("NAME")`."""

IN_SHIM = (
    "shim.after_lock",
    "shim.after_claim",
    "shim.after_fork",
    "shim.before_exec",
    "shim.before_exit_write",
    "shim.mid_exit_write",
    "shim.after_exit_write",
    "stop.after_term",
    "stop.before_kill",
)
"""Those of the supervisor, in the order of `enum tm_failpoint`, which counts from 1."""


class Action(IntEnum):
    """What happens at a failpoint; the numbers are those of `enum tm_fault`."""

    CRASH = 1
    SLEEP = 2
    ERROR = 3
    EXECUTE_THEN_ERROR = 4
    STOP = 5
    STALL = 6
    """A long sleep in the supervisor; written as one."""


class FailpointError(OSError):
    """What an armed failpoint raises: an input/output error (EIO) like any other."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EIO, f"failpoint {name}")


class _Armed(Struct):
    """One armed failpoint: how often it is still passed unharmed, and how often it then acts (-1 = always)."""

    action: Action
    sleep_seconds: float
    skip_count: int
    left_count: int


_ENTRY = re.compile(r"(?P<name>[a-z_.]+)=(?P<action>[a-z-]+)(\((?P<ms>[\d.]+)\))?(\*(?P<count>\d+))?(\+(?P<skip>\d+))?")


def parse(text: str) -> dict[str, _Armed]:
    """Read the variable's value. Raises `ValueError` for what is not understood and for names that do not exist."""
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        match = _ENTRY.fullmatch(entry)
        if match is None or match["name"] not in (*NAMES, *IN_SHIM):
            raise ValueError(f"{VARIABLE}: not a failpoint: {entry!r}")
        try:
            action = Action[match["action"].upper().replace("-", "_")]
        except KeyError:
            raise ValueError(f"{VARIABLE}: not an action: {entry!r}") from None
        found[match["name"]] = _Armed(
            action, float(match["ms"] or SLEEP_MILLISECONDS) / 1000, int(match["skip"] or 0), int(match["count"] or -1)
        )
    return found


def _take(name: str, *, after: bool) -> _Armed | None:
    point = _points.get(name)
    if point is None or after is not (point.action is Action.EXECUTE_THEN_ERROR):
        return None
    with _lock:
        if point.skip_count:
            point.skip_count -= 1
            return None
        if not point.left_count:
            return None
        point.left_count -= 1
    os.write(2, f"failpoint {name}: {point.action.name}\n".encode())  # a crash follows: no buffer, no logging
    return point


def _act(name: str, *, after: bool = False) -> None:
    point = _take(name, after=after)
    if point is None:
        return
    if point.action is Action.CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action is Action.STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif point.action is Action.SLEEP:
        time.sleep(point.sleep_seconds)
    else:
        raise FailpointError(name)


def _act_after(name: str) -> None:
    _act(name, after=True)


def _nothing(_name: str) -> None:
    return None


def for_shim() -> int:
    """Return what one launch is to suffer, for the launch block's flags: failpoint << 4 | fault; 0 = nothing."""
    for number, name in enumerate(IN_SHIM, 1) if _points else ():
        point = _take(name, after=False)
        if point is not None:
            long = point.action is Action.SLEEP and point.sleep_seconds >= STALL_SECONDS
            return number << 4 | (Action.STALL if long else point.action)
    return 0


_lock = Lock()
_points = parse(os.environ.get(VARIABLE, ""))
armed = bool(_points)
hit: Callable[[str], None] = _act if armed else _nothing
"""Reach a failpoint."""
hit_after: Callable[[str], None] = _act_after if armed else _nothing
"""Leave the operation that a failpoint encloses."""
