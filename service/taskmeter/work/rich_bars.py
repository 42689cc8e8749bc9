"""Bars of rich reported as progress."""

from __future__ import annotations

import sys
from functools import wraps

from taskmeter.work.bars import Bar

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BYTES = ("DownloadColumn", "FileSizeColumn", "TotalFileSizeColumn", "TransferSpeedColumn")
"""Columns that show bytes: progress with one of them is counted as size."""


def adopt(progress: Any) -> None:
    """Have `rich.progress.Progress` report what it shows; one with `disable=True` reports nothing."""
    cls = progress.Progress
    if "_taskmeter" in vars(cls):
        return
    cls._taskmeter = None  # our own name in a foreign class
    columns = tuple(getattr(progress, name) for name in BYTES if hasattr(progress, name))
    add, stop, remove, reset = cls.add_task, cls.stop, cls.remove_task, cls.reset

    @wraps(add)
    def add_task(self: Any, *args: Any, **kwargs: Any) -> Any:
        number = add(self, *args, **kwargs)
        if not self.disable:
            if self._taskmeter is None:
                self._taskmeter = {}
            is_bytes = any(isinstance(column, columns) for column in self.columns)
            task = self._tasks.get(number)
            self._taskmeter[number] = Bar(task.completed if task else 0, is_bytes=is_bytes)
            _sync(self, number)
        return number

    @wraps(stop)
    def stop_and_report(self: Any) -> None:
        for bar in (self._taskmeter or {}).values():
            bar.close()
        stop(self)

    @wraps(remove)
    def remove_task(self: Any, task_id: Any) -> None:
        remove(self, task_id)
        if self._taskmeter and task_id in self._taskmeter:
            self._taskmeter.pop(task_id).close()

    @wraps(reset)
    def reset_and_report(self: Any, task_id: Any, **kwargs: Any) -> None:
        if self._taskmeter and task_id in self._taskmeter:
            self._taskmeter[task_id].restart()
        reset(self, task_id, **kwargs)
        _sync(self, task_id)

    cls.add_task, cls.stop, cls.remove_task, cls.reset = add_task, stop_and_report, remove_task, reset_and_report
    cls.update, cls.advance = _reporting(cls.update), _reporting(cls.advance)


def _reporting(move: Callable[..., None]) -> Callable[..., None]:
    @wraps(move)
    def move_and_report(self: Any, task_id: Any, *args: Any, **kwargs: Any) -> None:
        move(self, task_id, *args, **kwargs)
        _sync(self, task_id)

    return move_and_report


def _sync(progress: Any, number: Any) -> None:
    bar = (progress._taskmeter or {}).get(number)  # noqa: SLF001  # our own name
    task = progress._tasks.get(number)  # noqa: SLF001  # no public way to one task
    if bar is not None and task is not None:
        bar.show(task.completed, task.total, _plain(str(task.description)))


def _plain(text: str) -> str:
    markup = sys.modules.get("rich.markup")
    if "[" not in text or markup is None:
        return text
    try:
        return str(markup.render(text).plain)
    except Exception:  # noqa: BLE001  # wrong markup: rich will say so itself
        return text
