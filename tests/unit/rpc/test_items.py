"""Items between the model and the wire."""

from __future__ import annotations

from typing import Any

import pytest

from taskmeter.model.event import Event
from taskmeter.model.item import ItemChanged, ItemStatus, Message, MessageLevel, StepEvent, StepEventType
from taskmeter.rpc.convert.event import frame_event
from taskmeter.rpc.convert.item import fill_item_id, key_of
from taskmeter.v1 import event_pb2, item_pb2, task_service_pb2


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (b"sa/b.pdf", {"text": "a/b.pdf"}),
        ("s\u00e4".encode(), {"text": "ä"}),
        (b"s", {"text": ""}),
        (b"i-7", {"number": -7}),
        (b"i9223372036854775807", {"number": 2**63 - 1}),
        (b"j[1,null]", {"json": "[1,null]"}),
    ],
)
def test_a_key_names_the_item_and_comes_back(key: bytes, fields: dict[str, Any]) -> None:
    message = item_pb2.ItemId()
    fill_item_id(message, key)
    assert message == item_pb2.ItemId(**fields)
    assert key_of(message) == key


def test_the_text_and_the_number_are_two_items_and_nothing_names_none() -> None:
    assert key_of(item_pb2.ItemId(text="1")) != key_of(item_pb2.ItemId(number=1))
    assert key_of(item_pb2.ItemId()) == b""


def framed(payload: Any) -> event_pb2.Event:
    data = frame_event(Event("tk_x", 12.5, 3, {"a": "b"}, payload), 77)
    [event] = task_service_pb2.StreamEventsResponse.FromString(data).events
    assert (event.seq, event.time, event.token, event.attempt, dict(event.tags)) == (77, 12.5, "tk_x", 3, {"a": "b"})
    return event


def test_an_item_event_has_all_that_is_known() -> None:
    changed = ItemChanged(b"i5", ItemStatus.FAILED, "ocr", 2, "why", "w-1", 99, {"k": "v"})
    assert framed(changed).item_changed == item_pb2.ItemChanged(
        item_id=item_pb2.ItemId(number=5), stage="ocr", status=item_pb2.ITEM_STATUS_FAILED, attempt=2, error="why", worker="w-1",
        size=99, metadata={"k": "v"},
    )  # fmt: skip


def test_a_step_that_was_not_timed_has_no_duration() -> None:
    begun = framed(StepEvent(b"sx", "read", StepEventType.START)).step
    assert begun == item_pb2.StepEvent(item_id=item_pb2.ItemId(text="x"), step="read", type=item_pb2.STEP_EVENT_TYPE_START)
    done = framed(StepEvent(b"sx", "read", StepEventType.COMPLETE, duration_seconds=0.0)).step
    assert done.HasField("duration_seconds") and not begun.HasField("duration_seconds")


def test_a_message_has_its_level() -> None:
    said = framed(Message(MessageLevel.WARNING, "hm")).message
    assert (said.level, said.text) == (event_pb2.MESSAGE_LEVEL_WARNING, "hm")
