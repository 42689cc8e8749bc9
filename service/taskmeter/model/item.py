"""Items: single units of work inside a task, their steps, and what the work has to say. Numbers as on the wire.

An item is named by its key: `b"s"` + UTF-8 text, `b"i"` + decimal integer, or `b"j"` + canonical JSON (RFC 8785) of any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from msgspec import Struct, field


class ItemStatus(IntEnum):
    """How far an item is."""

    UNSPECIFIED = 0
    QUEUED = 1
    IN_PROGRESS = 2
    COMPLETED = 3
    FAILED = 4
    RETRYING = 5
    SKIPPED = 6


class StepEventType(IntEnum):
    """What happened to a step of an item."""

    UNSPECIFIED = 0
    START = 1
    COMPLETE = 2
    RETRY = 3
    FAIL = 4


class MessageLevel(IntEnum):
    """How serious a message is."""

    UNSPECIFIED = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3
    LOG = 4


class ItemChanged(Struct, frozen=True, gc=False):
    """An item has changed: its stage, its status, or what is known about it."""

    kind: ClassVar[int] = 2
    """EventKind.ITEM."""
    item_id: bytes
    """The item's key."""
    status: ItemStatus
    stage: str = ""
    attempt: int = 0
    error: str = ""
    worker: str = ""
    size: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


class StepEvent(Struct, frozen=True, gc=False):
    """Something happened to one step of an item."""

    kind: ClassVar[int] = 3
    """EventKind.STEP."""
    item_id: bytes
    """The item's key."""
    step: str
    type: StepEventType
    stage: str = ""
    attempt: int = 0
    error: str = ""
    worker: str = ""
    duration_seconds: float | None = None


class Message(Struct, frozen=True, gc=False):
    """The work said something."""

    kind: ClassVar[int] = 4
    """EventKind.MESSAGE."""
    level: MessageLevel
    text: str


class Item(Struct, frozen=True, gc=False):
    """How one item stands, as of its newest event."""

    key: bytes
    stage: str
    status: ItemStatus
    attempt: int
    error: str
    worker: str
    size: int
    metadata: Mapping[str, str]
    time: float
    """Of its newest event, in Unix seconds."""
    event_count: int
    """How many events it has had, those included that are no longer kept."""


class ItemCounts(Struct, frozen=True, gc=False):
    """How many items stand how."""

    queued: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    retrying: int = 0
    skipped: int = 0


class ItemStats(Struct, frozen=True, gc=False):
    """All items of a task, counted."""

    total: ItemCounts
    stages: tuple[tuple[str, ItemCounts], ...]
    """By name of the stage they are in; of a task with more stages than are counted apart, the first ones by name."""
    event_count: int
    """Events of all kinds that the work has reported."""


class ItemHistory(Struct, frozen=True, gc=False):
    """A page of what happened to one item, oldest first."""

    frames: tuple[bytes, ...]
    """The events, each framed as `StreamEventsResponse.events`."""
    next_seq: int
    """Where the next page begins; 0 = this is the last one."""
    forgotten_count: int
    """Events of it that are no longer kept."""


class Said(Struct, frozen=True, gc=False):
    """What a task's status shows of the messages of its work."""

    errors: tuple[str, ...] = ()
    """The newest, oldest first."""
    warnings: tuple[str, ...] = ()
    error_count: int = 0
    warning_count: int = 0


class LogLine(Struct, frozen=True, gc=False):
    """A message as it was reported."""

    time: float
    attempt: int
    text: str
