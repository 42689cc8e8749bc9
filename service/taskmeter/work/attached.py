"""Trackers of a task that runs elsewhere: asked and told over the wire, by a client that is given.

Nothing is kept here: every answer is the daemon's, which knows all items of the task, also after its end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, cast

from taskmeter.errors import NotFoundError
from taskmeter.work.callbacks import NAMES, Callbacks
from taskmeter.work.failed import failed_item, summary_of
from taskmeter.work.numbers import STATUSES, STEPS
from taskmeter.work.tracking import ErrorSummary, FailedItem, ReportedError, Status, StatusEvent, TaskEvent, TaskEventType

KINDS = (2, 3)
"""EventKind.ITEM and STEP."""
T = TypeVar("T")

_STATUS = {number: word for word, number in STATUSES.items()}
_STEP = {number: word for word, number in STEPS.items()}


class Attached(Callbacks):
    """What both trackers of other processes have: what they are told, and how it is translated."""

    def __init__(self, client: Any, token: str, callbacks: Iterable[Any], from_seq: int | None, methods_of: type) -> None:
        mine = [getattr(methods_of, name, None) for name in NAMES]  # functions of a subclass of StatusTracker
        super().__init__(*(each or (own and partial(own, self)) for each, own in zip(callbacks, mine, strict=True)))
        self.client = client
        self.token = token
        self.from_seq = from_seq
        self.error: BaseException | None = None
        """What ended the stream of events before the task has ended."""
        self._closed = False

    @property
    def _options(self) -> dict[str, Any]:
        return {"kinds": KINDS, "from_seq": self.from_seq, "until_terminal": True}

    def _take(self, event: Any) -> None:
        if event.item_changed is not None:
            self.tell_status(_changed(event))
        elif event.step is not None:
            self.tell_task(_step(event))

    def _lost(self, error: BaseException) -> None:
        if not self._closed:
            self.error = error
            import_module("logging").getLogger("taskmeter.tracker").error("events of %s are lost: %s", self.token, error)


class AttachedTracker(Attached):
    """A tracker over a `SyncClient`; the methods are those of `StatusTracker`. Callbacks are called until the task has ended."""

    def __init__(self, client: Any, token: str, callbacks: Iterable[Any], from_seq: int | None, methods_of: type) -> None:
        super().__init__(client, token, callbacks, from_seq, methods_of)
        self._thread = threading.Thread(target=self._follow, name="taskmeter-attached", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for event in self.client.events([self.token], **self._options):
                if self._closed:
                    return
                self._take(event)
        except Exception as error:  # noqa: BLE001  # told by `error` and the log: this thread has nobody else
            self._lost(error)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the task has ended and callbacks have seen all; False if not in time. Raises what ended it before."""
        self._thread.join(timeout_seconds)
        done = not self._thread.is_alive() and self.flush(timeout_seconds)
        if self.error is not None:
            raise self.error
        return done

    def close(self) -> None:
        """Be told nothing any more; questions are still answered."""
        self._closed = True

    def get_status(self, item_id: Any) -> StatusEvent | None:
        """Return how an item stands; None if there is none."""
        try:
            return _item(self.client.get_item(self.token, item_id))
        except NotFoundError as error:
            return _nothing(error, None)

    def get_tracked_ids(self) -> list[Any]:
        """Return the ids of all items."""
        return [item.item_id for item in self.client.list_items(self.token)]

    def get_by_status(self, status: Status) -> list[StatusEvent]:
        """Return all items that have this status now."""
        return [_item(item) for item in self.client.list_items(self.token, status=status)]

    def get_stats(self) -> dict[str, int]:
        """Return how many items have each status."""
        return _stats(self.client.get_item_stats(self.token))

    def get_history(self, item_id: Any) -> list[StatusEvent]:
        """Return the events of an item, oldest first."""
        try:
            return _history(self.client.get_item_history(self.token, item_id))
        except NotFoundError as error:
            return _nothing(error, [])

    def get_failed_items(self) -> list[FailedItem]:
        """Return what is known of each item that has failed."""
        return [failed_item(_item(item), item.attempt + 1) for item in self.client.list_items(self.token, status="failed")]

    def get_error_summary(self) -> ErrorSummary:
        """Return the failed items, and how many there are by type of error and by stage."""
        return summary_of(self.get_failed_items())


class AsyncAttachedTracker(Attached):
    """A tracker over an async `Client`: the same methods, to be awaited."""

    def __init__(self, client: Any, token: str, callbacks: Iterable[Any], from_seq: int | None, methods_of: type) -> None:
        super().__init__(client, token, callbacks, from_seq, methods_of)
        self._asyncio = import_module("asyncio")
        self._following = self._asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        try:
            async for event in self.client.events([self.token], **self._options):
                self._take(event)
        except Exception as error:  # noqa: BLE001  # told by `error` and the log: this task has nobody else
            self._lost(error)

    async def wait(self) -> None:
        """Wait until the task has ended and callbacks have seen all. Raises what ended it before."""
        await self._asyncio.wait([self._following])
        await self.drain()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Be told nothing any more; questions are still answered."""
        self._closed = True
        self._following.cancel()

    async def get_status(self, item_id: Any) -> StatusEvent | None:
        """Return how an item stands; None if there is none."""
        try:
            return _item(await self.client.get_item(self.token, item_id))
        except NotFoundError as error:
            return _nothing(error, None)

    async def get_tracked_ids(self) -> list[Any]:
        """Return the ids of all items."""
        return [item.item_id async for item in self.client.list_items(self.token)]

    async def get_by_status(self, status: Status) -> list[StatusEvent]:
        """Return all items that have this status now."""
        return [_item(item) async for item in self.client.list_items(self.token, status=status)]

    async def get_stats(self) -> dict[str, int]:
        """Return how many items have each status."""
        return _stats(await self.client.get_item_stats(self.token))

    async def get_history(self, item_id: Any) -> list[StatusEvent]:
        """Return the events of an item, oldest first."""
        try:
            return _history(await self.client.get_item_history(self.token, item_id))
        except NotFoundError as error:
            return _nothing(error, [])

    async def get_failed_items(self) -> list[FailedItem]:
        """Return what is known of each item that has failed."""
        return [failed_item(_item(item), item.attempt + 1) async for item in self.client.list_items(self.token, status="failed")]

    async def get_error_summary(self) -> ErrorSummary:
        """Return the failed items, and how many there are by type of error and by stage."""
        return summary_of(await self.get_failed_items())


def _nothing(error: NotFoundError, answer: T) -> T:
    """Answer for an item that there is not; raise if it is the task that is not there."""
    if error.reason != "ITEM_NOT_FOUND":
        raise error
    return answer


def _status_event(item_id: Any, fields: Mapping[str, Any], time: float) -> StatusEvent:
    metadata: dict[str, Any] = dict(fields["metadata"])
    if fields["error"]:
        metadata.setdefault("error", fields["error"])
    if metadata.get("attempt", "").isdigit():
        metadata["attempt"] = int(metadata["attempt"])
    status = cast(Status, _STATUS.get(fields["status"], "queued"))
    return StatusEvent(item_id, fields["stage"] or None, status, fields["worker"] or None, time, metadata)


def _item(item: Any) -> StatusEvent:
    return _status_event(item.item_id, item, item.time)


def _changed(event: Any) -> StatusEvent:
    return _status_event(event.item_changed["itemId"], event.item_changed, event.time)


def _step(event: Any) -> TaskEvent:
    step = event.step
    error = ReportedError(step["error"]) if step["error"] else None
    kind = cast(TaskEventType, _STEP.get(step["type"], "start"))
    seconds = step["durationSeconds"]
    return TaskEvent(
        step["itemId"], step["stage"], step["step"], step["worker"], kind, step["attempt"] + 1, event.time, error, seconds
    )


def _history(events: Iterable[Any]) -> list[StatusEvent]:
    return [_changed(event) for event in events if event.item_changed is not None]


def _stats(stats: Any) -> dict[str, int]:
    return {word: getattr(stats.total, word) for word in STATUSES}
