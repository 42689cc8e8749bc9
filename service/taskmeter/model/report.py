"""One report of the work about itself: what has been done since the one before, and what is to be said."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from taskmeter.model.item import ItemChanged, Message, StepEvent

MOST_COUNT = 2**62 - 1
"""Of any counter and total: two of them can be added in 64 bits."""


class Report(Struct, frozen=True, gc=False):
    """What `ReportProgressRequest` says. Totals and texts replace what was said before, None leaves it; all else is added."""

    total_count: int | None = None
    total_size: int | None = None
    completed_count: int = 0
    completed_size: int = 0
    failed_count: int = 0
    failed_size: int = 0
    status: str | None = None
    current_object: str | None = None
    ready: bool = False
    custom: Mapping[str, int] = field(default_factory=dict)
    payloads: tuple[ItemChanged | StepEvent | Message, ...] = ()
    """What becomes durable events."""
    exit_code: int | None = None
    """External work has ended with this code."""
