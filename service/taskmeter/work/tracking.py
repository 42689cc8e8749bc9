"""What a tracker says: events of items and of their tasks, and what has failed."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["queued", "in_progress", "completed", "failed", "retrying", "skipped"]
TaskEventType = Literal["start", "complete", "retry", "fail"]


class StatusEvent(msgspec.Struct, frozen=True, gc=False):
    """An item has changed."""

    item_id: Any
    """Any JSON value, or whatever else names an item in this process."""
    stage: str | None
    status: Status
    worker: str | None = None
    timestamp: float = 0.0
    """Unix seconds."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of `retrying`: attempt, error, error_type; of `failed`: error, error_type; and what the work adds."""

    @property
    def worker_id(self) -> int | None:
        """The number in a worker's name such as "fetch-W5"; None without one."""
        number = (self.worker or "").rpartition("-W")[2]
        return int(number) if number.isascii() and number.isdigit() else None


class TaskEvent(msgspec.Struct, frozen=True):
    """Something happened to one task, a step, of an item."""

    item_id: Any
    stage: str
    task_name: str
    worker: str
    event_type: TaskEventType
    attempt: int = 1
    """Counts from 1; on the wire, from 0."""
    timestamp: float = 0.0
    """Unix seconds."""
    error: BaseException | None = None
    duration: float | None = None
    """Seconds; None when it starts."""


class ReportedError(Exception):
    """An exception of the work as the wire brings it: its text, "Type: text"."""


class FailedItem(msgspec.Struct, frozen=True):
    """An item that was given up."""

    item_id: Any
    error: str
    error_type: str
    stage: str
    attempts: int
    """How often it was tried in that stage."""
    timestamp: float


class ErrorSummary(msgspec.Struct, frozen=True):
    """What has failed, counted."""

    total_failed: int
    errors_by_type: dict[str, int]
    errors_by_stage: dict[str, int]
    failed_items: list[FailedItem]

    def __str__(self) -> str:
        if not self.total_failed:
            return "No errors occurred"
        lines = [f"ErrorSummary: {self.total_failed} failed items"]
        for title, counts in (("By type", self.errors_by_type), ("By stage", self.errors_by_stage)):
            lines += ["", f"{title}:"]
            lines += [f"  {name}: {n}" for name, n in sorted(counts.items(), key=lambda each: -each[1])]
        return "\n".join(lines)
