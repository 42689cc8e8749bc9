"""Items to the wire and back; the only file that knows how an item's key becomes an ItemId."""

from __future__ import annotations

from msgspec.structs import asdict

from taskmeter.model.item import Item, ItemChanged, ItemCounts, StepEvent
from taskmeter.v1 import item_pb2, item_service_pb2


def key_of(item_id: item_pb2.ItemId) -> bytes:
    """Return the key of the item that is named; b"" if none is."""
    kind = item_id.WhichOneof("id")
    if kind == "text":
        return b"s" + item_id.text.encode()
    if kind == "number":
        return b"i%d" % item_id.number
    return b"j" + item_id.json.encode() if kind == "json" else b""


def fill_item_id(message: item_pb2.ItemId, key: bytes) -> None:
    """Set the name of an item; `key` may hold what is no UTF-8, which comes out replaced."""
    kind, name = key[:1], key[1:].decode(errors="replace")
    if kind == b"i":
        message.number = int(name)
    elif kind == b"j":
        message.json = name
    else:
        message.text = name


def item_message(item: Item) -> item_service_pb2.Item:
    """Return how an item stands."""
    message = item_service_pb2.Item(
        stage=item.stage,
        status=int(item.status),  # type: ignore[arg-type]
        attempt=item.attempt,
        error=item.error,
        worker=item.worker,
        size=item.size,
        metadata=item.metadata,
        time=item.time,
        event_count=item.event_count,
    )
    fill_item_id(message.item_id, item.key)
    return message


def counts_message(counts: ItemCounts) -> item_service_pb2.ItemCounts:
    """Return how many items stand how."""
    return item_service_pb2.ItemCounts(**asdict(counts))


def fill_item_changed(message: item_pb2.ItemChanged, changed: ItemChanged) -> None:
    """Set all that is known of an item that has changed."""
    fill_item_id(message.item_id, changed.item_id)
    message.stage = changed.stage
    message.status = int(changed.status)  # type: ignore[assignment]  # same numbers, checked by a test
    message.attempt = changed.attempt
    message.error = changed.error
    message.worker = changed.worker
    message.size = changed.size
    if changed.metadata:
        message.metadata.update(changed.metadata)


def fill_step(message: item_pb2.StepEvent, step: StepEvent) -> None:
    """Set what happened to a step."""
    fill_item_id(message.item_id, step.item_id)
    message.stage = step.stage
    message.step = step.step
    message.type = int(step.type)  # type: ignore[assignment]
    message.attempt = step.attempt
    message.error = step.error
    message.worker = step.worker
    if step.duration_seconds is not None:
        message.duration_seconds = step.duration_seconds
