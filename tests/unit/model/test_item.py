"""Items of the model: the numbers are those of the wire."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from taskmeter.model.event import EventKind
from taskmeter.model.item import ItemChanged, ItemStatus, Message, MessageLevel, StepEvent, StepEventType
from taskmeter.v1 import event_pb2, item_pb2


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (ItemStatus, item_pb2.ItemStatus, "ITEM_STATUS_"),
        (StepEventType, item_pb2.StepEventType, "STEP_EVENT_TYPE_"),
        (MessageLevel, event_pb2.MessageLevel, "MESSAGE_LEVEL_"),
    ],
)
def test_numbers_are_those_of_the_wire(ours: type[IntEnum], theirs: Any, prefix: str) -> None:
    assert {f"{prefix}{each.name}": each.value for each in ours} == dict(theirs.items())


def test_payloads_know_their_kind() -> None:
    assert (ItemChanged.kind, StepEvent.kind, Message.kind) == (EventKind.ITEM, EventKind.STEP, EventKind.MESSAGE)
