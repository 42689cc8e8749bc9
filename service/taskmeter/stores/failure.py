"""What an error of SQLite means for the store: whether waiting helps, room helps, or nothing does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import ParamSpec, TypeVar

import apsw

from taskmeter.errors import UnavailableError

P = ParamSpec("P")
R = TypeVar("R")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SYNCS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}
_SHM = {apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP}


class Failure(Enum):
    """The kinds of failure, each with what follows from it."""

    FULL = "no room; the next commit may find some"
    TEMPORARY = "busy, read-only or a failed read or write; the next commit tries again"
    UNSYNCED = "what the kernel could not put on disk is unknown: nothing more may be acknowledged by this process"
    DAMAGED = "the file is not what was written; it has to be rebuilt"


def kind_of(error: Exception, system_errno: int) -> Failure:
    """Judge an error by its extended code, and by what the operating system said where SQLite does not tell."""
    code = getattr(error, "extendedresult", 0)
    if isinstance(error, apsw.FullError):
        return Failure.FULL
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Failure.DAMAGED
    if isinstance(error, apsw.IOError):
        if code in _SYNCS:
            return Failure.UNSYNCED
        if code in _SHM or system_errno in _NO_ROOM:
            return Failure.FULL
    return Failure.TEMPORARY


def describe(error: Exception) -> str:
    """Return an error's class, extended code and message; SQLite's message alone may be empty."""
    code = getattr(error, "extendedresult", "")
    return f"{type(error).__name__} {code} {error}".strip()


def reads(method: Callable[P, R]) -> Callable[P, R]:
    """Have a method that reads raise `UnavailableError` STORE_UNAVAILABLE where the database cannot be read."""

    @wraps(method)
    def read(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(*arguments, **named)
        except apsw.Error as error:
            raise UnavailableError(
                "the store could not be read", reason="STORE_UNAVAILABLE", hint="try again", retry_after_seconds=1.0
            ) from error

    return read
