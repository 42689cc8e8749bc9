"""Follow items through the stages of a pipeline in this process: query them, and be told of each change."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from time import time
from typing import Any

from taskmeter.work.callbacks import Callbacks, OnStatus, OnTask
from taskmeter.work.context import current
from taskmeter.work.failed import failed_item, summary_of
from taskmeter.work.failure import describe
from taskmeter.work.names import name_of
from taskmeter.work.numbers import STATUSES, STEPS
from taskmeter.work.tracking import ErrorSummary, FailedItem, Status, StatusEvent, TaskEvent, TaskEventType

MAX_ITEMS = 100_000
MAX_HISTORY = 100


class StatusTracker(Callbacks):
    """Knows how every item stands, and tells callbacks of each change.

        tracker = StatusTracker(on_status_change=lambda event: print(event.item_id, event.status))
        tracker.change("page-1", "in_progress", stage="render")
        tracker.get_stats()  # {"queued": 0, "in_progress": 1, …}

    Callbacks may be plain or `async` functions, given here, set as attributes, or methods of a subclass. They are called in
    order, one at a time, off the thread that made the event, and can neither slow nor break it; `flush` and `drain` wait.

    Memory is bounded: beyond `max_items`, finished items are forgotten, completed ones first and oldest first; beyond
    `max_history` events of one item, its oldest ones. `get_stats` counts all. Inside a task every event also goes to the item
    log, where the daemon keeps it for anybody to ask. May be used from any thread.
    """

    def __init__(
        self,
        on_status_change: OnStatus | None = None,
        on_task_start: OnTask | None = None,
        on_task_complete: OnTask | None = None,
        on_task_retry: OnTask | None = None,
        on_task_fail: OnTask | None = None,
        *,
        max_items: int = MAX_ITEMS,
        max_history: int = MAX_HISTORY,
    ) -> None:
        super().__init__(on_status_change, on_task_start, on_task_complete, on_task_retry, on_task_fail)
        self.max_items = max_items
        self.max_history = max_history
        self._make_lock()
        self._items: dict[Any, list[StatusEvent]] = {}
        """The events of each item, oldest first."""
        self._by_status: dict[str, dict[Any, None]] = {status: {} for status in STATUSES}
        """Sets that keep their order."""
        self._retries: dict[Any, dict[str | None, int]] = {}
        """How often an item was retried, by stage."""
        self._forgotten = dict.fromkeys(STATUSES, 0)
        context = current()
        self._log = context.item_log if context.is_task else None
        _all.add(self)

    @classmethod
    def attach(
        cls,
        client: Any,
        token: str,
        on_status_change: OnStatus | None = None,
        on_task_start: OnTask | None = None,
        on_task_complete: OnTask | None = None,
        on_task_retry: OnTask | None = None,
        on_task_fail: OnTask | None = None,
        *,
        from_seq: int | None = 1,
    ) -> Any:
        """Follow the items of a task that runs elsewhere, or has ended: an `AttachedTracker`.

        With a `SyncClient`, its queries are as here; with a `Client`, they are awaited (`AsyncAttachedTracker`). Callbacks, those
        of a subclass too, see all events from the first one on, then live; with `from_seq=None` only what comes from now on.
        """
        from taskmeter.work.attached import AsyncAttachedTracker, AttachedTracker  # noqa: PLC0415  # few attach

        kind = AsyncAttachedTracker if hasattr(client, "__aenter__") else AttachedTracker
        given = [on_status_change, on_task_start, on_task_complete, on_task_retry, on_task_fail]
        return kind(client, token, given, from_seq, methods_of=cls)

    # ------------------------------------------------------------------------------------------------------ being told

    def change(
        self,
        item_id: Any,
        status: Status,
        *,
        stage: str | None = None,
        worker: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        error: BaseException | str | None = None,
    ) -> StatusEvent:
        """Say that an item changed, and return the event. An error adds the metadata `error` and `error_type`."""
        told: dict[str, Any] = dict(metadata) if metadata else {}
        if error is not None:
            told.update(describe(error)[1])
        event = StatusEvent(item_id, stage, status, worker, time(), told)
        self.emit(event)
        return event

    def step(
        self,
        item_id: Any,
        task_name: str,
        event_type: TaskEventType,
        *,
        stage: str = "",
        worker: str = "",
        attempt: int = 1,
        error: BaseException | None = None,
        duration: float | None = None,
    ) -> TaskEvent:
        """Say what happened to a task, a step, of an item, and return the event."""
        event = TaskEvent(item_id, stage, task_name, worker, event_type, attempt, time(), error, duration)
        self.emit_task_event(event)
        return event

    def emit(self, event: StatusEvent) -> None:
        """Record an event and have it told. Raises `ValueError` for a status that there is not."""
        status, item_id = event.status, event.item_id
        mine = self._by_status.get(status)
        if mine is None:
            raise ValueError(f"{status!r} is no status; there are {', '.join(STATUSES)}")
        is_text = type(item_id) is str
        key = item_id if is_text else _key(item_id)
        self._acquire()
        try:
            history = self._items.get(key)
            if history is None:
                self._items[key] = [event]
                mine[key] = None
                if len(self._items) > self.max_items:
                    self._forget()
            else:
                del self._by_status[history[-1].status][key]
                mine[key] = None
                history.append(event)
                if len(history) > self.max_history:
                    del history[0]
            tries = self._tries(key, event) if self._retries or status == "retrying" else 0
            if self.on_status_change is not None:
                self.observers.put(self.on_status_change, event)
            if self._log is not None:
                if event.metadata or not is_text:
                    self._log_status(event, tries)
                else:
                    self._log.item(item_id, STATUSES[status], event.stage or "", tries, "", event.worker or "")
        except (TypeError, ValueError) as refused:  # by the log
            self._refused(item_id, refused)
        finally:
            self._release()

    def emit_task_event(self, event: TaskEvent) -> None:
        """Have an event of a task told. Raises `ValueError` for a type that there is not."""
        number = STEPS.get(event.event_type)
        if number is None:
            raise ValueError(f"{event.event_type!r} is no type of event; there are {', '.join(STEPS)}")
        with self._lock:
            if self._log is not None:
                self._log_step(event, number)
            self.tell_task(event)

    async def _emit(self, event: StatusEvent) -> None:
        """As AntFlow's pipelines call it."""
        self.emit(event)

    async def _emit_task_event(self, event: TaskEvent) -> None:
        """As AntFlow's pipelines call it."""
        self.emit_task_event(event)

    # ---------------------------------------------------------------------------------------------------- being asked

    def get_status(self, item_id: Any) -> StatusEvent | None:
        """Return the newest event of an item; None if there is none."""
        found = self._items.get(_key(item_id))
        return found[-1] if found else None

    def get_tracked_ids(self) -> list[Any]:
        """Return the ids of all items, in the order in which they were first seen."""
        with self._lock:
            return [history[-1].item_id for history in self._items.values()]

    def get_by_status(self, status: Status) -> list[StatusEvent]:
        """Return the newest events of all items that have this status now."""
        with self._lock:
            return [self._items[key][-1] for key in self._by_status.get(status, ())]

    def get_stats(self) -> dict[str, int]:
        """Return how many items have each status now, forgotten ones included; always the same little work."""
        return {status: len(items) + self._forgotten[status] for status, items in self._by_status.items()}

    def get_history(self, item_id: Any) -> list[StatusEvent]:
        """Return the events of an item, oldest first."""
        with self._lock:
            return list(self._items.get(_key(item_id), ()))

    def get_failed_items(self) -> list[FailedItem]:
        """Return what is known of each item that has failed."""
        with self._lock:
            return [self._failed(key, self._items[key][-1]) for key in self._by_status["failed"]]

    def get_error_summary(self) -> ErrorSummary:
        """Return the failed items, and how many there are by type of error and by stage."""
        return summary_of(self.get_failed_items())

    # ------------------------------------------------------------------------------------------------------- keeping

    def _make_lock(self) -> None:
        self._lock = threading.RLock()  # a signal handler may come in between
        self._acquire, self._release = self._lock.acquire, self._lock.release  # half as slow as `with`

    def _tries(self, key: Any, event: StatusEvent) -> int:
        """Return how often the item was tried in this stage before."""
        retries = self._retries.get(key)
        tries = retries.get(event.stage, 0) if retries else 0
        if event.status == "retrying":
            self._retries[key] = {**(retries or {}), event.stage: tries + 1}
        return tries

    def _failed(self, key: Any, event: StatusEvent) -> FailedItem:
        return failed_item(event, self._retries.get(key, {}).get(event.stage, 0) + 1)

    def _forget(self) -> None:
        for status in ("completed", "skipped", "failed"):
            items = self._by_status[status]
            if items:
                key = next(iter(items))
                del items[key], self._items[key]
                self._retries.pop(key, None)
                self._forgotten[status] += 1
                return

    def _log_status(self, event: StatusEvent, attempt: int) -> None:
        assert self._log is not None
        metadata = {str(name): str(value) for name, value in event.metadata.items()}
        error, kind = metadata.get("error", ""), metadata.get("error_type")
        error = f"{kind}: {error}" if kind and error != kind else error
        name, number = _name(event.item_id), STATUSES[event.status]
        self._log.item(name, number, event.stage or "", attempt, error, event.worker or "", 0, metadata or None)

    def _log_step(self, event: TaskEvent, number: int) -> None:
        assert self._log is not None
        error, _ = describe(event.error)
        name, seconds = _name(event.item_id), event.duration
        try:
            self._log.step(name, event.task_name, number, event.stage, max(event.attempt - 1, 0), error, event.worker, seconds)
        except (TypeError, ValueError) as refused:
            self._refused(event.item_id, refused)

    @staticmethod
    def _refused(item_id: Any, refused: Exception) -> None:
        """An id that the log cannot take is followed in this process only; the work goes on."""
        current().warn(f"not logged: the item {str(item_id)[:100]!r}: {refused}")


def _key(item_id: Any) -> Any:
    """Return what tells items apart: 1, True and "1" are three of them, and lists and dicts can be ids too."""
    kind = type(item_id)
    if kind is str or kind is int:
        return item_id
    if kind in {bool, float, list, dict, tuple} or item_id is None:
        try:
            name = name_of(item_id)
        except (TypeError, ValueError):
            return kind, repr(item_id)
        return name if isinstance(name, int) else ("json", name)
    return item_id


def _name(item_id: Any) -> str | int | bytes:
    try:
        return name_of(item_id)
    except (TypeError, ValueError):
        return str(item_id)


_all: weakref.WeakSet[StatusTracker] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):  # another thread may have held it
        each._make_lock()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
