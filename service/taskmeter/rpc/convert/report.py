"""One report from the wire, checked field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn, TypeVar

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.item import ItemChanged, ItemStatus, Message, MessageLevel, StepEvent, StepEventType
from taskmeter.model.report import MOST_COUNT, Report
from taskmeter.rpc.convert.canonical import canonical_json, is_own_type
from taskmeter.rpc.convert.checks import Checks
from taskmeter.rpc.convert.item import key_of
from taskmeter.v1 import event_pb2, item_pb2
from taskmeter.v1 import task_service_pb2 as pb

MAX_REPORT_BYTES = 512 * 1024
MAX_EVENTS = 1000
"""Messages, items and steps of one report together: they are one commit."""
MAX_TEXT_BYTES = 500
"""Of status and current object; the report block has room for no more."""
MAX_ITEM_ID_BYTES = 1024
MAX_NAME_BYTES = 200
"""Of a stage, a step, a worker."""
MAX_ERROR_BYTES = 2000
MAX_MESSAGE_BYTES = 4000
MAX_METADATA_BYTES = 4000
"""Of one item, names and values together."""
MAX_COUNTERS = 16
MAX_COUNTER_NAME_BYTES = 24

T = TypeVar("T", MessageLevel, ItemStatus, StepEventType)
_AMOUNTS = ("add_completed_count", "add_completed_size", "add_failed_count", "add_failed_size")


def report_from_message(message: pb.ReportProgressRequest) -> Report:
    """Check and convert. Raises `InvalidArgumentError` naming each bad field."""
    checks = Checks()
    if message.ByteSize() > MAX_REPORT_BYTES:
        _refuse(f"the report is larger than {MAX_REPORT_BYTES} bytes; send several")
    if len(message.messages) + len(message.items) + len(message.steps) > MAX_EVENTS:
        _refuse(f"the report has more than {MAX_EVENTS} messages, items and steps; send several")
    for name in ("set_total_count", "set_total_size", *_AMOUNTS):
        checks.count(name, getattr(message, name), most=MOST_COUNT)
    for name in ("status", "current_object"):
        checks.text(name, getattr(message, name), most_bytes=MAX_TEXT_BYTES)
    if message.exit_code < 0:
        checks.add("exit_code", "must not be negative")
    _check_custom(checks, message.add_custom)
    payloads: tuple[ItemChanged | StepEvent | Message, ...] = (
        *(_message(checks, f"messages[{index}]", one) for index, one in enumerate(message.messages)),
        *(_item(checks, f"items[{index}]", one) for index, one in enumerate(message.items)),
        *(_step(checks, f"steps[{index}]", one) for index, one in enumerate(message.steps)),
    )
    checks.done()
    return Report(
        total_count=message.set_total_count if message.HasField("set_total_count") else None,
        total_size=message.set_total_size if message.HasField("set_total_size") else None,
        completed_count=message.add_completed_count,
        completed_size=message.add_completed_size,
        failed_count=message.add_failed_count,
        failed_size=message.add_failed_size,
        status=message.status if message.HasField("status") else None,
        current_object=message.current_object if message.HasField("current_object") else None,
        ready=message.ready,
        custom=dict(message.add_custom),
        payloads=payloads,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
    )


def _refuse(problem: str) -> NoReturn:
    """Refuse before anything else is looked at."""
    raise InvalidArgumentError(problem, fields=[("", problem)])


def _check_custom(checks: Checks, counters: Mapping[str, int]) -> None:
    if len(counters) > MAX_COUNTERS:
        checks.add("add_custom", f"has {len(counters)} counters; a task has {MAX_COUNTERS} at most")
    for name, count in counters.items():
        field = f"add_custom[{name[:40]!r}]"
        if not name:
            checks.add(field, "needs a name")
        checks.text(field, name, most_bytes=MAX_COUNTER_NAME_BYTES)
        checks.count(field, count, most=MOST_COUNT)


def _message(checks: Checks, field: str, message: event_pb2.Message) -> Message:
    checks.text(f"{field}.text", message.text, most_bytes=MAX_MESSAGE_BYTES)
    return Message(_one_of(checks, f"{field}.level", MessageLevel, message.level), message.text)


def _item(checks: Checks, field: str, item: item_pb2.ItemChanged) -> ItemChanged:
    _check_common(checks, field, item)
    checks.count(f"{field}.size", item.size, most=MOST_COUNT)
    size = sum(len(name.encode()) + len(value.encode()) for name, value in item.metadata.items())
    if size > MAX_METADATA_BYTES:
        checks.add(f"{field}.metadata", f"is longer than {MAX_METADATA_BYTES} bytes in all")
    if "" in item.metadata:
        checks.add(f"{field}.metadata", "has an empty key")
    return ItemChanged(
        item_id=_key(checks, f"{field}.item_id", item.item_id),
        status=_one_of(checks, f"{field}.status", ItemStatus, item.status),
        stage=item.stage,
        attempt=item.attempt,
        error=item.error,
        worker=item.worker,
        size=item.size,
        metadata=dict(item.metadata),
    )


def _step(checks: Checks, field: str, step: item_pb2.StepEvent) -> StepEvent:
    _check_common(checks, field, step)
    if not step.step:
        checks.add(f"{field}.step", "must not be empty")
    checks.text(f"{field}.step", step.step, most_bytes=MAX_NAME_BYTES)
    seconds = step.duration_seconds if step.HasField("duration_seconds") else None
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        checks.add(f"{field}.duration_seconds", "must be seconds, from 0")
    return StepEvent(
        item_id=_key(checks, f"{field}.item_id", step.item_id),
        step=step.step,
        type=_one_of(checks, f"{field}.type", StepEventType, step.type),
        stage=step.stage,
        attempt=step.attempt,
        error=step.error,
        worker=step.worker,
        duration_seconds=seconds,
    )


def _check_common(checks: Checks, field: str, one: item_pb2.ItemChanged | item_pb2.StepEvent) -> None:
    checks.text(f"{field}.stage", one.stage, most_bytes=MAX_NAME_BYTES)
    checks.text(f"{field}.worker", one.worker, most_bytes=MAX_NAME_BYTES)
    checks.text(f"{field}.error", one.error, most_bytes=MAX_ERROR_BYTES)
    if one.attempt < 0:
        checks.add(f"{field}.attempt", "must not be negative")


def _key(checks: Checks, field: str, item_id: item_pb2.ItemId) -> bytes:
    kind = item_id.WhichOneof("id")
    if kind is None:
        checks.add(field, "must name an item")
        return b""
    if kind == "number":
        return key_of(item_id)
    text = item_id.text if kind == "text" else item_id.json
    if len(text.encode()) > MAX_ITEM_ID_BYTES:
        checks.add(f"{field}.{kind}", f"is longer than {MAX_ITEM_ID_BYTES} bytes")
        return b""
    if kind == "text":
        if not text:
            checks.add(f"{field}.text", "must not be empty")
        return key_of(item_id)
    try:
        canonical = canonical_json(text)
    except ValueError as error:
        why = str(error) if type(error) is ValueError else "is no JSON"
        checks.add(f"{field}.json", why)
        return b""
    if is_own_type(canonical):
        checks.add(f"{field}.json", "is a string or an integer, which have fields of their own: text, number")
    return key_of(item_pb2.ItemId(json=canonical))


def _one_of(checks: Checks, field: str, kind: type[T], number: int) -> T:
    try:
        found = kind(number)
    except ValueError:
        found = kind(0)
    if not found:
        checks.add(field, "must be one that is known, and not UNSPECIFIED")
    return found
