"""Bars of tqdm, of all its kinds, reported as progress."""

from __future__ import annotations

from functools import wraps

from taskmeter.work.bars import Bar
from taskmeter.work.context import current

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BYTES = {"b", "ib", "byte", "bytes"}


def adopt(std: Any) -> None:
    """Have `tqdm.std.tqdm`, which all other kinds derive from, report what it shows; one with `disable=True` reports nothing."""
    cls = std.tqdm
    if "_taskmeter" in vars(cls):
        return
    cls._taskmeter = None  # our own name in a foreign class
    _adopt_ends(cls)
    _adopt_moves(cls)


def _adopt_ends(cls: Any) -> None:
    begin, close, reset = cls.__init__, cls.close, cls.reset

    @wraps(begin)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        begin(self, *args, **kwargs)
        if kwargs.get("disable"):  # the program's wish; not that of a terminal, or of a user who wants to see no bar
            return
        unit = str(kwargs.get("unit", ""))
        self._taskmeter = _TqdmBar(self, is_bytes=unit.lower() in BYTES)
        self._taskmeter.sync(self)

    @wraps(close)
    def close_and_report(self: Any) -> None:
        close(self)
        bar = self._taskmeter
        if bar is not None:
            bar.sync(self)
            bar.close()

    @wraps(reset)
    def reset_and_report(self: Any, total: float | None = None) -> None:
        bar = self._taskmeter
        if bar is not None:
            bar.restart()
        reset(self, total)
        if bar is not None:
            bar.sync(self)

    cls.__init__, cls.close, cls.reset = __init__, close_and_report, reset_and_report


def _adopt_moves(cls: Any) -> None:
    walk, update, refresh = cls.__iter__, cls.update, cls.refresh

    @wraps(walk)
    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807
        bar = self._taskmeter
        return walk(self) if bar is None or bar.is_walking else _counted(self, bar, walk(self))

    @wraps(update)
    def update_and_report(self: Any, n: float = 1) -> Any:
        answer = update(self, n)
        bar = self._taskmeter
        if bar is not None:
            bar.sync(self, n)
        return answer

    @wraps(refresh)
    def refresh_and_report(self: Any, *args: Any, **kwargs: Any) -> Any:  # after `bar.n = …`
        answer = refresh(self, *args, **kwargs)
        bar = self._taskmeter
        if bar is not None:
            bar.sync(self)
        return answer

    cls.__iter__, cls.update, cls.refresh = __iter__, update_and_report, refresh_and_report


class _TqdmBar(Bar):
    __slots__ = ("is_silent", "is_walking")

    def __init__(self, shown: Any, *, is_bytes: bool) -> None:
        super().__init__(shown.n, is_bytes=is_bytes)
        self.is_silent = bool(shown.disable)
        """It counts nothing by itself, since nobody would see it."""
        self.is_walking = False
        """It is iterated over: each step is counted there."""

    def sync(self, shown: Any, n: float = 0) -> None:
        if self.is_walking:
            return
        done = self.done + n if self.is_silent else shown.n
        self.show(done, shown.total, getattr(shown, "desc", "").rstrip(": "))


def _counted(shown: Any, bar: _TqdmBar, walk: Iterator[Any]) -> Iterator[Any]:
    bar.sync(shown)
    bar.is_walking = True
    n = 0
    try:
        if bar.is_outermost and not bar.is_bytes:  # and stays so until it is closed
            add = current().add
            for each in walk:
                yield each
                add()
                n += 1
        else:
            for each in walk:
                yield each
                bar.one()
    finally:
        bar.done += n
        bar.reported += n
        bar.is_walking = False
        if bar.is_silent:
            bar.close()
