"""Durable, ordered facts about tasks. The store assigns `seq`; a payload never changes after that."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from msgspec import Struct

from taskmeter.model.item import ItemChanged, Message, StepEvent
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task


class EventKind(IntEnum):
    """Kinds a subscriber can choose; numbers as on the wire."""

    STATE = 1
    ITEM = 2
    STEP = 3
    MESSAGE = 4
    LOG = 5
    METADATA = 6
    DELETED = 7


class StateChanged(Struct, frozen=True, gc=False):
    """The task moved in the state table, or was accepted (NONE → NONE, reason "accepted")."""

    kind = EventKind.STATE
    before: State
    after: State
    outcome: Outcome
    reason: str
    task: Task | None
    """As it stands with this event; None when a later move was committed with it, which carries it then."""


class MetadataChanged(Struct, frozen=True, gc=False):
    """The whole new tags and metadata."""

    kind = EventKind.METADATA
    tags: Mapping[str, str]
    metadata: Mapping[str, str]


class TaskDeleted(Struct, frozen=True, gc=False):
    """The task's row and files are gone; nothing follows for this token."""

    kind = EventKind.DELETED


class Event(Struct, frozen=True, gc=False):
    """One fact about one task, not yet numbered."""

    token: str
    time: float
    attempt: int
    tags: Mapping[str, str]
    payload: StateChanged | MetadataChanged | TaskDeleted | ItemChanged | StepEvent | Message
