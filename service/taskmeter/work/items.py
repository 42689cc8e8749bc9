"""Items of the work: say what becomes of each one, by a `with` block or call by call."""

from __future__ import annotations

from time import perf_counter

from taskmeter.work.failure import describe
from taskmeter.work.names import name_of
from taskmeter.work.numbers import COMPLETED, FAILED, IN_PROGRESS, QUEUED, RETRYING, SKIPPED, STEPS

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from metercore.itemlog import ItemLog
    from metercore.report import ReportBlock


class Items:
    """What happens to the items of this task; `taskmeter.current().items`.

    An id is any JSON value (text, number, list, …), a path or a UUID; at most 1,024 bytes of it. A stage names the part of the
    work that the item is in; worker, who has it. `attempt` counts from 0. `complete` and `fail` also count it as completed or
    failed, with its size, in the task's progress; with `count=False`, as in all stages but the last, they do not.

    Raises `TypeError` and `ValueError` for what can be no id; never because nobody can be told.
    """

    __slots__ = ("_add", "_fail", "_item", "_step")

    def __init__(self, report: ReportBlock, log: ItemLog) -> None:
        self._add = report.add
        self._fail = report.fail
        self._item = log.item
        self._step = log.step

    def queued(
        self, item_id: object, *, stage: str = "", size: int = 0, worker: str = "", metadata: dict[str, str] | None = None
    ) -> None:
        """It waits for its turn."""
        self._item(name_of(item_id), QUEUED, stage, 0, "", worker, size, metadata)

    def start(
        self,
        item_id: object,
        *,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Work on it begins."""
        self._item(name_of(item_id), IN_PROGRESS, stage, attempt, "", worker, size, metadata)

    def complete(
        self,
        item_id: object,
        *,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
        count: bool = True,
    ) -> None:
        """It is done."""
        self._item(name_of(item_id), COMPLETED, stage, attempt, "", worker, size, metadata)
        if count:
            self._add(1, size)

    def fail(
        self,
        item_id: object,
        error: BaseException | str = "",
        *,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
        count: bool = True,
    ) -> None:
        """It is given up; of an exception, "Type: text" is kept and metadata `error` and `error_type`."""
        text, told = describe(error)
        self._item(name_of(item_id), FAILED, stage, attempt, text, worker, size, {**(metadata or {}), **told})
        if count:
            self._fail(1, size)

    def retry(
        self,
        item_id: object,
        error: BaseException | str = "",
        *,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """It failed in this `attempt` and will be tried again; metadata also get `attempt`: the coming one, counted from 1."""
        text, told = describe(error)
        told["attempt"] = str(attempt + 2)
        self._item(name_of(item_id), RETRYING, stage, attempt, text, worker, size, {**(metadata or {}), **told})

    def skip(
        self, item_id: object, reason: str = "", *, stage: str = "", worker: str = "", metadata: dict[str, str] | None = None
    ) -> None:
        """It is left out on purpose: counted neither as completed nor as failed."""
        told = {**(metadata or {}), "reason": reason} if reason else metadata
        self._item(name_of(item_id), SKIPPED, stage, 0, "", worker, 0, told)

    def step(
        self,
        item_id: object,
        step: str,
        event_type: str,
        *,
        stage: str = "",
        attempt: int = 0,
        error: BaseException | str | None = None,
        worker: str = "",
        duration_seconds: float | None = None,
    ) -> None:
        """Something happened to a step of it: "start", "complete", "retry" or "fail"."""
        text, _ = describe(error)
        self._step(name_of(item_id), step, STEPS[event_type], stage, attempt, text, worker, duration_seconds)


class Item:
    """One item in a `with` block: IN_PROGRESS when it begins, COMPLETED or, when it raises, FAILED at its end.

    with taskmeter.item("page-1", stage="render", size=2048) as item:
        with item.step("parse"):
            parse()
        if blank():
            item.skip("nothing on it")
    """

    __slots__ = ("_items", "_name", "_over", "attempt", "count", "id", "metadata", "size", "stage", "worker")

    def __init__(
        self,
        items: Items,
        item_id: object,
        stage: str = "",
        size: int = 0,
        attempt: int = 0,
        worker: str = "",
        metadata: dict[str, str] | None = None,
        count: bool = True,
    ) -> None:
        self._items = items
        self._name = item_id if type(item_id) is str else name_of(item_id)
        self._over = False
        self.id = item_id
        self.stage = stage
        self.size = size
        """May be set within the block, once it is known."""
        self.attempt = attempt
        self.worker = worker
        self.metadata = metadata
        """May be replaced within the block: what is known at its end is told."""
        self.count = count

    def __enter__(self) -> Self:
        self._say(IN_PROGRESS, "", self.metadata)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.fail(error)
        elif not self._over:
            self._over = True
            self._say(COMPLETED, "", self.metadata)
            if self.count:
                self._items._add(1, self.size)  # noqa: SLF001  # its other half

    def fail(self, error: BaseException | str) -> None:
        """Give it up, without an exception; the end of the block then says no more."""
        if self._over:
            return
        self._over = True
        text, told = describe(error)
        self._say(FAILED, text, {**(self.metadata or {}), **told})
        if self.count:
            self._items._fail(1, self.size)  # noqa: SLF001  # its other half

    def skip(self, reason: str = "") -> None:
        """Leave it out on purpose; the end of the block then says no more."""
        if not self._over:
            self._over = True
            self._say(SKIPPED, "", {**(self.metadata or {}), "reason": reason} if reason else self.metadata)

    def retry(self, error: BaseException | str = "") -> None:
        """Say that this try failed, and go on with the next one."""
        text, told = describe(error)
        self.attempt += 1
        told["attempt"] = str(self.attempt + 1)
        self._say(RETRYING, text, {**(self.metadata or {}), **told}, self.attempt - 1)

    def _say(self, status: int, error: str, metadata: dict[str, str] | None, attempt: int | None = None) -> None:
        tried = self.attempt if attempt is None else attempt
        self._items._item(self._name, status, self.stage, tried, error, self.worker, self.size, metadata)  # noqa: SLF001

    def step(self, name: str) -> Step:
        """Follow a step of it through a `with` block, with how long it took."""
        return Step(self._items, self, name)


class Step:
    """A step of an item, in a `with` block: start, then complete, or fail when it raises."""

    __slots__ = ("_item", "_items", "_since", "name")

    def __init__(self, items: Items, item: Item, name: str) -> None:
        self._items = items
        self._item = item
        self._since = 0.0
        self.name = name

    def _say(self, event_type: str, error: BaseException | None, seconds: float | None) -> None:
        item = self._item
        self._items.step(
            item.id,
            self.name,
            event_type,
            stage=item.stage,
            attempt=item.attempt,
            error=error,
            worker=item.worker,
            duration_seconds=seconds,
        )

    def __enter__(self) -> Self:
        self._say("start", None, None)
        self._since = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        seconds = perf_counter() - self._since
        self._say("complete" if error is None else "fail", error, seconds)
