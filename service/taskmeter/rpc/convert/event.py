"""Events to the wire, framed so that several join into one StreamEventsResponse by concatenation."""

from __future__ import annotations

from taskmeter.model.event import Event, MetadataChanged, StateChanged
from taskmeter.model.item import ItemChanged, Message, StepEvent
from taskmeter.rpc.convert.frame import EVENTS, frame
from taskmeter.rpc.convert.item import fill_item_changed, fill_step
from taskmeter.rpc.convert.status import status_message
from taskmeter.v1 import event_pb2


def frame_event(event: Event, seq: int) -> bytes:
    """Encode `event` as number `seq`, as one `StreamEventsResponse.events` field."""
    message = event_pb2.Event(seq=seq, time=event.time, token=event.token, attempt=event.attempt)
    if event.tags:
        message.tags.update(event.tags)
    payload = event.payload
    if isinstance(payload, StateChanged):
        changed = message.state_changed
        changed.from_state = int(payload.before)  # type: ignore[assignment]
        changed.to_state = int(payload.after)  # type: ignore[assignment]
        changed.outcome = int(payload.outcome)  # type: ignore[assignment]
        changed.reason = payload.reason
        if payload.task is not None:
            changed.status.CopyFrom(status_message(payload.task.evolve(seq=seq), metered=False))
    elif isinstance(payload, MetadataChanged):
        changes = message.metadata_changed
        changes.SetInParent()
        if payload.tags:
            changes.tags.update(payload.tags)
        if payload.metadata:
            changes.metadata.update(payload.metadata)
    elif isinstance(payload, ItemChanged):
        fill_item_changed(message.item_changed, payload)
    elif isinstance(payload, StepEvent):
        fill_step(message.step, payload)
    elif isinstance(payload, Message):
        message.message.level = int(payload.level)  # type: ignore[assignment]
        message.message.text = payload.text
    else:
        message.task_deleted.SetInParent()
    return frame(EVENTS, message.SerializeToString())
