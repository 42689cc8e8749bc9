"""The task that this process works for.

    from taskmeter.work import current

    progress = current().progress(total=len(files))
    for file in files:
        progress.object(file.name)
        convert(file)
        progress.add(size=file.stat().st_size)

The counters are those of `metercore.report.ReportBlock`, so that `add` costs one atomic instruction and no Python call. Outside
a task, or when the block cannot be made, the same methods write to private memory: a program runs alike with and without us.
"""

from __future__ import annotations

import os

from metercore.report import ReportBlock
from taskmeter.work.numbers import ERROR, LOG, NOTE, WARNING

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from typing import Self

    from metercore.itemlog import ItemLog
    from taskmeter.work.items import Item, Items


class Context(ReportBlock):
    """Where the work reports to. After a fork, parent and child add to the same counters, and each writes a log of its own."""

    __slots__ = ("_directory", "_items", "_log", "_tags", "attempt", "has_total", "name", "token")

    def __init__(
        self, path: str | None = None, token: str = "", attempt: int = 0, name: str = "", tags: str | dict[str, str] = ""
    ) -> None:
        self.token = token
        """The task's token; empty outside a task."""
        self.attempt = attempt
        """Counts from 0."""
        self.name = name
        """The name the task was given; empty if it has none."""
        self.has_total = False
        """Whether this process has said how much there is to do: then loops and bars do not add to it."""
        self._tags = tags
        self._directory = os.path.join(os.path.dirname(path), "items") if path and self.shared else None
        self._log: ItemLog | None = None
        self._items: Items | None = None

    @property
    def is_task(self) -> bool:
        """Tell whether anybody can see what is reported."""
        return self.shared

    @property
    def task_id(self) -> str:
        """The token, under the name that background-task managers give it."""
        return self.token

    @property
    def func_name(self) -> str:
        """The name, likewise."""
        return self.name

    @property
    def tags(self) -> dict[str, str]:
        """The tags that the task had when this attempt began; empty if they were too many for its environment."""
        if isinstance(self._tags, str):
            self._tags = _parse(self._tags)
        return dict(self._tags)

    # ------------------------------------------------------------------------------------------------------- progress

    def progress(self, total: int | None = None, total_size: int | None = None) -> Self:
        """Say how many items, and how many bytes, there are to do; None leaves what was said. Returns self."""
        self.has_total = self.has_total or total is not None or total_size is not None
        return super().progress(total, total_size)

    # ---------------------------------------------------------------------------------------------------------- items

    @property
    def item_log(self) -> ItemLog:
        """The item log of this process; made on disk with the first event."""
        if self._log is None:
            from metercore.itemlog import ItemLog  # noqa: PLC0415  # tasks that only count start without it

            self._log = ItemLog(self._directory)
        return self._log

    @property
    def items(self) -> Items:
        """Say what becomes of single items."""
        if self._items is None:
            from taskmeter.work.items import Items  # noqa: PLC0415  # likewise

            self._items = Items(self, self.item_log)
        return self._items

    def item(
        self,
        item_id: object,
        *,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
        count: bool = True,
    ) -> Item:
        """Follow one item through a `with` block; see `Item`."""
        from taskmeter.work.items import Item  # noqa: PLC0415  # likewise

        return Item(self.items, item_id, stage, size, attempt, worker, metadata, count)

    # ------------------------------------------------------------------------------------------------------- messages

    def message(self, level: int, text: object) -> None:
        """Say something; `level` as numbered in MessageLevel. Cut at 4,000 bytes of UTF-8."""
        if self._directory is not None:
            self.item_log.message(level, str(text))

    def log(self, text: object) -> None:
        """Add a line to the task's log."""
        self.message(LOG, text)

    def note(self, text: object) -> None:
        """Say something worth knowing."""
        self.message(NOTE, text)

    def warn(self, text: object) -> None:
        """Say that something is not as it should be."""
        self.message(WARNING, text)

    def error(self, text: object) -> None:
        """Say that something failed; the task goes on."""
        self.message(ERROR, text)


def _parse(tags: str) -> dict[str, str]:
    if not tags:
        return {}
    import json  # noqa: PLC0415  # few ask

    try:
        found = json.loads(tags)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


_current: Context | None = None


def current() -> Context:
    """Return the context of the task this process runs in: always the same, and one that leads nowhere outside a task."""
    global _current
    if _current is None:
        directory = os.environ.get("TASKMETER_TASK_DIR", "")
        attempt = os.environ.get("TASKMETER_ATTEMPT", "")
        _current = Context(
            os.path.join(directory, "report") if directory else None,
            os.environ.get("TASKMETER_TOKEN", ""),
            int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
            os.environ.get("TASKMETER_NAME", ""),
            os.environ.get("TASKMETER_TAGS", ""),
        )
    return _current


def get_task_context() -> Context | None:
    """Return the context of the task this process runs in (`task_id`, `func_name`, `attempt`, `tags`); None outside a task."""
    context = current()
    return context if context.token else None
