"""A layer between SQLite and its files that fails when told to: before it does what it was asked, or after having done it.

    faults = SqliteFaults()
    faults.plan(Call.WRITE, apsw.SQLITE_IOERR_WRITE, every=7, after=True)

Connections opened while it is installed go through it. It counts what it was asked and what it made fail.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import apsw


class Call(Enum):
    """What of a file can fail."""

    READ = "xRead"
    WRITE = "xWrite"
    SYNC = "xSync"
    LOCK = "xLock"
    TRUNCATE = "xTruncate"


@dataclass(slots=True)
class _Plan:
    code: int
    every: int
    left: int
    after: bool
    only: str
    seen: int = 0

    def hits(self, name: str) -> bool:
        if not name.endswith(self.only) or not self.left:
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.left -= 1
        return True


class SqliteFaults(apsw.VFS):
    """The default file layer of this process from its making to `remove`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[Call, _Plan] = {}
        self.asked: Counter[Call] = Counter()
        self.failed: Counter[Call] = Counter()
        self._before = apsw.vfs_names()[0]
        super().__init__("faults", self._before, makedefault=True)

    def plan(self, call: Call, code: int, *, every: int = 1, times: int = 10**9, after: bool = False, only: str = "") -> None:
        """Make every so many-th `call` fail with SQLite's (extended) `code`, at most `times`.

        `after`: it is done first, and then said to have failed. `only`: of files whose name ends so, such as "-wal".
        """
        with self._lock:
            self._plans[call] = _Plan(code, every, times, after, only)

    def heal(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._plans.clear()

    def remove(self) -> None:
        self.heal()
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        return _File(self, name, flags)

    def run(self, call: Call, name: str, work: Callable[[], Any]) -> Any:
        """Do what SQLite asks, or fail as planned."""
        with self._lock:
            plan = self._plans.get(call)
            self.asked[call] += 1
            hit = plan is not None and plan.hits(name)
            self.failed[call] += hit
        if plan is None or not hit:
            return work()
        if plan.after:
            work()
        raise apsw.exception_for(plan.code)


class _File(apsw.VFSFile):
    def __init__(self, faults: SqliteFaults, name: Any, flags: list[int]) -> None:
        self._faults = faults
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__(faults._before, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return self._faults.run(Call.READ, self._name, lambda: super(_File, self).xRead(amount, offset))  # type: ignore[no-any-return]

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._faults.run(Call.WRITE, self._name, lambda: super(_File, self).xWrite(data, offset))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._faults.run(Call.SYNC, self._name, lambda: super(_File, self).xSync(flags))

    def xLock(self, level: int) -> None:  # noqa: N802
        self._faults.run(Call.LOCK, self._name, lambda: super(_File, self).xLock(level))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._faults.run(Call.TRUNCATE, self._name, lambda: super(_File, self).xTruncate(size))
