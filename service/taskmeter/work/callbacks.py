"""What a tracker tells, and to whom: five callbacks, given, set as attributes, or methods of a subclass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from taskmeter.work.observers import Observers
from taskmeter.work.tracking import StatusEvent, TaskEvent

OnStatus = Callable[[StatusEvent], Awaitable[None] | None]
OnTask = Callable[[TaskEvent], Awaitable[None] | None]

NAMES = ("on_status_change", "on_task_start", "on_task_complete", "on_task_retry", "on_task_fail")

MAX_WAITING = 1_000_000
"""Events that wait for slow callbacks; some 200 MB."""


class Callbacks:
    """Calls them in order, one at a time, off whoever tells."""

    on_status_change: OnStatus | None = None
    on_task_start: OnTask | None = None
    on_task_complete: OnTask | None = None
    on_task_retry: OnTask | None = None
    on_task_fail: OnTask | None = None

    def __init__(self, *given: Any) -> None:
        for name, callback in zip(NAMES, given, strict=True):
            if callback is not None:  # else a subclass may have a method of this name
                setattr(self, name, callback)
        self.observers = Observers(MAX_WAITING)

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until callbacks have seen all events so far; False if not in time. On an event loop, `await drain()` instead."""
        return self.observers.flush(timeout_seconds)

    async def drain(self) -> None:
        """Wait until callbacks have seen all events so far."""
        await self.observers.drain()

    def tell_status(self, event: StatusEvent) -> None:
        """Have the callback for items called, if there is one."""
        if self.on_status_change is not None:
            self.observers.put(self.on_status_change, event)

    def tell_task(self, event: TaskEvent) -> None:
        """Have the callback for this type of event called, if there is one."""
        callback: OnTask | None = getattr(self, f"on_task_{event.event_type}")
        if callback is not None:
            self.observers.put(callback, event)
