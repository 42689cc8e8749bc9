"""The status view: the ONE documented form of TaskStatus for REST, SSE, `--json` and the Python status object.

Laws: enums are numbers; 64-bit integers are JSON numbers; every documented key is always there (`false`, `0`, `[]`, `{}`, `""`);
what was not measurable is null, never 0. Keys are the proto's JSON names, which are those of the reference system.

    token name project_id source state completed outcome createTime startTime endTime
    totalCount completedCount failedCount totalSize completedSize failedSize
    rateCount rateSize rateCountPerSecond rateSizePerSecond etaSeconds? etaLowSeconds? etaHighSeconds?
    errors[] warnings[] errorCount warningCount status currentObject exitCode exitMessage exitSignal
    metrics{cpu_percent cpu_memory_mb gpu_memory_mb? peak_cpu_percent peak_cpu_memory_mb peak_gpu_memory_mb?
            avg_cpu_percent avg_cpu_memory_mb avg_gpu_memory_mb? cpu_cores cpu_time_ns memory_bytes peak_memory_bytes
            io_read_bytes? io_write_bytes? process_count thread_count gpu_utilization_percent? peak_gpu_utilization_percent?
            gpus[{index uuid name memoryBytes? utilizationPercent?}] source sample_time interval_seconds gap
            pss_bytes? kernel_peak_memory_bytes? memory_source open_file_count? voluntary_switch_count? involuntary_switch_count?
            minor_fault_count? major_fault_count? uss_bytes? cpu_pressure_percent? memory_pressure_percent? io_pressure_percent?
            recent_peak_cpu_percent recent_peak_memory_bytes}
    tokens{cpu_utilization cpu_memory gpu_memory total custom{} tariff cpu_ns memory_byte_seconds gpu_memory_byte_seconds
           gpu_utilization gpu_ns}
    pipeflow{totalPipes byPipe{"0": ["stage", …]} workers{"name": {status stage itemId? sinceTime}}}
    attempt retriesUsed maxRetries tags{} metadata{} queuePosition? node pid
    timings{queueSeconds? startSeconds? runSeconds? stopSeconds? totalSeconds?}
    seq workSummary queue idempotencyKey inputSubmitTime machineType waitingReason unkillablePids[] stalled

A `?` marks keys that can be null. When nothing of a task was measured, every value in `metrics` is null (and `gpus` empty); of
external work, whose sources say so, all that would be a figure.

Events have the same form: `seq time token attempt tags kind` and exactly one of `stateChanged itemChanged step message log
metadataChanged taskDeleted`. `log.data` is bytes in Python and base64 in JSON.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from taskmeter.v1 import event_pb2, task_pb2, usage_pb2

_EVENT_KINDS = {
    "state_changed": event_pb2.EVENT_KIND_STATE,
    "item_changed": event_pb2.EVENT_KIND_ITEM,
    "step": event_pb2.EVENT_KIND_STEP,
    "message": event_pb2.EVENT_KIND_MESSAGE,
    "log": event_pb2.EVENT_KIND_LOG,
    "metadata_changed": event_pb2.EVENT_KIND_METADATA,
    "task_deleted": event_pb2.EVENT_KIND_DELETED,
}

_KEPT_WHEN_UNSET = frozenset({"TaskTokens", "TaskPipeflow", "TaskTimings"})
"""Parts of a status that are shown with their empty values while there is nothing to say."""


_METRICS = usage_pb2.TaskMetrics.DESCRIPTOR
_KNOWN_OF_EXTERNAL = frozenset({"source", "memory_source", "sample_time", "interval_seconds", "gap", "gpus"})
"""What is not a figure among the metrics: on the wire the figures are 0, and that would be a claim."""


def status_view(status: task_pb2.TaskStatus) -> dict[str, Any]:
    """Return the status view of one task."""
    return message_view(status)


def event_view(event: event_pb2.Event) -> dict[str, Any]:
    """Return the view of one event; `kind` says which of the payload keys is there."""
    view = message_view(event)
    payload = event.WhichOneof("payload")
    view["kind"] = _EVENT_KINDS.get(payload, 0) if payload else 0
    return view


def message_view(message: Message) -> dict[str, Any]:
    """Return any message of the contract in the form of the status view; of a oneof only the member that is set."""
    chosen = {oneof.name: message.WhichOneof(oneof.name) for oneof in _oneofs(message.DESCRIPTOR)}
    view: dict[str, Any] = {}
    for key, name, oneof, read in _plan(message.DESCRIPTOR):
        if oneof is None or chosen[oneof] == name:
            view[key] = read(message)
    if message.DESCRIPTOR is _METRICS and view["source"] == usage_pb2.METRICS_SOURCE_EXTERNAL:
        return {key: value if key in _KNOWN_OF_EXTERNAL else None for key, value in view.items()}
    return view


def to_json(value: object, *, indent: int | None = None) -> str:
    """Serialize views: UTF-8 text, bytes as base64, keys in the order of the contract."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators, default=_base64)


@cache
def keys_of(descriptor: Descriptor) -> dict[str, str]:
    """Map the attribute name of every field of a message to its key in the view."""
    return {field.name: field.json_name for field in descriptor.fields}


@cache
def _oneofs(descriptor: Descriptor) -> tuple[Any, ...]:
    """The real oneofs; protobuf also makes one of every `optional`."""
    return tuple(oneof for oneof in descriptor.oneofs if not oneof.name.startswith("_"))


@cache
def _plan(descriptor: Descriptor) -> tuple[tuple[str, str, str | None, Callable[[Any], Any]], ...]:
    real = {oneof.name for oneof in _oneofs(descriptor)}
    return tuple(
        (
            field.json_name,
            field.name,
            field.containing_oneof.name if field.containing_oneof and field.containing_oneof.name in real else None,
            _reader(field),
        )
        for field in descriptor.fields
    )


def _reader(field: FieldDescriptor) -> Callable[[Any], Any]:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        convert = _converter(field.message_type.fields_by_name["value"])
        return lambda message: {str(key): convert(value) for key, value in _sorted(getattr(message, name).items())}
    convert = _converter(field)
    if field.is_repeated:
        return lambda message: [convert(value) for value in getattr(message, name)]
    if field.message_type is not None:
        blank = _blank(field.message_type)
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else blank()
    if field.has_presence and (field.containing_oneof is None or field.containing_oneof.name.startswith("_")):
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _sorted(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Maps have no order on the wire; equal statuses shall look equal."""
    return sorted(pairs, key=lambda pair: pair[0])


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        if field.message_type.name == "ComponentStack":
            return lambda stack: list(stack.components)
        if field.message_type.name == "ItemId":
            return item_id_value
        return message_view
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return _finite
    return _same


def _blank(descriptor: Descriptor) -> Callable[[], Any]:
    """What an unset message looks like."""
    if descriptor.name == "TaskMetrics":
        return lambda: {field.json_name: [] if field.is_repeated else None for field in descriptor.fields}
    if descriptor.name in _KEPT_WHEN_UNSET:
        return lambda: message_view(GetMessageClass(descriptor)())
    return lambda: None


def item_id_value(item_id: Any) -> Any:
    """Return an item id as the JSON value it stands for; None if it is not set."""
    which = item_id.WhichOneof("id")
    if which is None:
        return None
    value = getattr(item_id, which)
    if which != "json":
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None


def _same(value: Any) -> Any:
    return value


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    raise TypeError(type(value).__name__)
