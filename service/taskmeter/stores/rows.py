"""Between a Task value and its rows; the only file that knows which field lies in which column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from taskmeter.model.item import Said
from taskmeter.model.retry import Wait
from taskmeter.model.state import FREES_IDEMPOTENCY_KEY, Outcome, State
from taskmeter.model.task import NOTHING_SAID, Cause, StopOrder, Target, Task, TaskSpec
from taskmeter.model.usage import Integrals, Tariff, Usage

Row = tuple[Any, ...]

NOTHING: Mapping[str, str] = MappingProxyType({})
MOST_TARIFFS = 64


class UnreadableError(ValueError):
    """A row that this program cannot have written."""


class _Detail(Struct, gc=False):
    """Column `detail`: what no query filters by. What has a default is not in rows of before it was built."""

    key: str
    retries_used: int
    queued_time: float
    incarnation: int
    boot_id: str
    launch_time: float
    start_time: float
    gone_time: float
    pid: int
    exit_code: int
    exit_signal: int
    exit_message: str
    stop: tuple[Any, ...] | None
    unkillable: tuple[int, ...]
    earlier: Raw
    tariff: Raw
    wait: tuple[Any, ...] | None = None
    gpus: tuple[str, ...] = ()
    target: tuple[Any, ...] | None = None


_encode_json = msgspec.json.encode
_decode_detail = msgspec.json.Decoder(_Detail).decode
_decode_map = msgspec.json.Decoder(dict[str, str]).decode
_decode_usage = msgspec.json.Decoder(Usage).decode
_decode_integrals = msgspec.json.Decoder(Integrals).decode
_decode_tariff = msgspec.json.Decoder(Tariff).decode

_NO_INTEGRALS = Integrals()
_NO_INTEGRALS_JSON = Raw(_encode_json(_NO_INTEGRALS))
_tariffs: dict[bytes, Tariff] = {}
"""By how they are stored: a thousand tasks have a handful of tariffs."""


def decode_map(text: str) -> Mapping[str, str]:
    """Read back what `encode_map` wrote; nearly all are empty, and share one value."""
    return _decode_map(text) if text != "{}" else NOTHING


def _integrals(stored: Raw) -> Integrals:
    return _NO_INTEGRALS if stored == _NO_INTEGRALS_JSON else _decode_integrals(stored)


def _tariff(stored: Raw) -> Tariff:
    key = bytes(stored)
    found = _tariffs.get(key)
    if found is None:
        if len(_tariffs) >= MOST_TARIFFS:
            _tariffs.clear()
        found = _tariffs[key] = _decode_tariff(key)
    return found


def encode_map(values: Mapping[str, str]) -> str:
    """Return the JSON of tags or metadata."""
    return _encode_json(dict(values)).decode() if values else "{}"


def held_key(task: Task) -> str | None:
    """Return the idempotency key this task answers for: none once it ended in a way that frees the key (G2)."""
    if not task.idempotency_key or (task.ended and task.outcome in FREES_IDEMPOTENCY_KEY):
        return None
    return task.idempotency_key


def detail(task: Task) -> str:
    """Return the JSON of what no query filters by."""
    stop, target = task.stop, task.target
    return _encode_json(
        _Detail(
            key=task.idempotency_key,
            retries_used=task.retries_used,
            queued_time=task.queued_time,
            incarnation=task.incarnation,
            boot_id=task.boot_id,
            launch_time=task.launch_time,
            start_time=task.start_time,
            gone_time=task.gone_time,
            pid=task.pid,
            exit_code=task.exit_code,
            exit_signal=task.exit_signal,
            exit_message=task.exit_message,
            stop=(stop.cause, stop.time, stop.grace_seconds, stop.reason, stop.serial) if stop else None,
            unkillable=task.unkillable_pids,
            earlier=Raw(_encode_json(task.earlier)),
            tariff=Raw(_encode_json(task.tariff)),
            wait=astuple(task.wait) if task.wait else None,
            gpus=task.gpus,
            target=(target.pid, target.start_ticks, target.boot_id) if target else None,
        )
    ).decode()


def insert_row(task: Task, spec: bytes) -> Row:
    """Values of query `put_task`."""
    return (
        task.token,
        task.tenant,
        task.node,
        task.executor,
        held_key(task),
        task.spec_hash,
        spec,
        task.spec.project_id,
        task.spec.source,
        task.spec.name,
        task.spec.queue,
        task.priority,
        int(task.state),
        int(task.outcome),
        task.attempt,
        task.create_time,
        task.end_time,
        task.seq,
        encode_map(task.tags),
        encode_map(task.metadata),
        detail(task),
    )


def update_row(task: Task) -> Row:
    """Values of query `set_task`."""
    return (
        held_key(task),
        task.priority,
        int(task.state),
        int(task.outcome),
        task.attempt,
        task.end_time,
        task.seq,
        encode_map(task.tags),
        encode_map(task.metadata),
        detail(task),
        task.token,
    )


def attempt_row(task: Task) -> Row:
    """Values of query `put_attempt`, for the task's current attempt."""
    integrals = task.usage.integrals if task.usage else Integrals()
    return (
        task.token,
        task.attempt,
        task.node,
        task.boot_id,
        task.incarnation,
        task.launch_time,
        task.start_time,
        task.end_time,
        int(task.outcome),
        task.exit_code,
        task.exit_signal,
        task.exit_message,
        integrals.cpu_ns,
        str(integrals.memory_byte_ns2),
        encode_usage(task.usage) if task.usage else "{}",
    )


def encode_usage(usage: Usage) -> str:
    """Return the JSON of an attempt's final usage; integers of any size survive."""
    return _encode_json(usage).decode()


def decode_usage(text: str | None) -> Usage | None:
    """Read back what `encode_usage` wrote; None for an attempt without usage."""
    return _decode_usage(text) if text is not None and text != "{}" else None


def decode_task(row: Row, decode_spec: Callable[[bytes], TaskSpec]) -> Task:
    """Build a Task from the columns of `get_task`. Raises `UnreadableError`."""
    try:
        return _decode_task(row, decode_spec)
    except MemoryError:
        raise
    except Exception as error:  # what garbage ends in depends on the garbage
        raise UnreadableError(f"{row[15]!r}: {error!r}") from error


def _decode_task(row: Row, decode_spec: Callable[[bytes], TaskSpec]) -> Task:
    tenant, node, executor, spec, spec_hash, create_time, priority, state, outcome, attempt, end_time, seq = row[:12]
    tags, metadata = row[12:14]
    more = _decode_detail(row[14])
    stop, wait, target = more.stop, more.wait, more.target
    return Task(
        token=row[15],
        spec=decode_spec(spec),
        spec_hash=spec_hash,
        create_time=create_time,
        tenant=intern(tenant),
        node=intern(node),
        executor=intern(executor),
        idempotency_key=more.key,
        tags=decode_map(tags),
        metadata=decode_map(metadata),
        priority=priority,
        state=State(state),
        outcome=Outcome(outcome),
        attempt=attempt,
        retries_used=more.retries_used,
        queued_time=more.queued_time,
        incarnation=more.incarnation,
        boot_id=intern(more.boot_id),
        launch_time=more.launch_time,
        start_time=more.start_time,
        end_time=end_time,
        gone_time=more.gone_time,
        pid=more.pid,
        exit_code=more.exit_code,
        exit_signal=more.exit_signal,
        exit_message=more.exit_message,
        stop=StopOrder(Cause(stop[0]), *stop[1:]) if stop else None,
        wait=Wait(*wait) if wait else None,
        unkillable_pids=more.unkillable,
        gpus=more.gpus,
        target=Target(*target) if target else None,
        usage=decode_usage(row[16]),
        earlier=_integrals(more.earlier),
        tariff=_tariff(more.tariff),
        said=Said(warning_count=row[17], error_count=row[18]) if row[17] or row[18] else NOTHING_SAID,
        seq=seq,
    )
