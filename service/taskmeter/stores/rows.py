"""Between a Task value and its rows; the only file that knows which field lies in which column."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, fields
from sys import intern
from types import MappingProxyType
from typing import Any

from taskmeter.model.retry import Wait
from taskmeter.model.state import FREES_IDEMPOTENCY_KEY, Outcome, State
from taskmeter.model.task import Cause, StopOrder, Target, Task, TaskSpec
from taskmeter.model.usage import GpuUse, Integrals, MemorySource, Metrics, MetricsSource, Progress, Tariff, Usage

Row = tuple[Any, ...]

NOTHING: Mapping[str, str] = MappingProxyType({})
MOST_TARIFFS = 64
_METRICS = tuple(field.name for field in fields(Metrics))
_PROGRESS = tuple(field.name for field in fields(Progress))
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class UnreadableError(ValueError):
    """A row that this program cannot have written."""


def _values(value: Integrals | Tariff) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def decode_map(text: str) -> Mapping[str, str]:
    """Read back what `encode_map` wrote; nearly all are empty, and share one value."""
    return json.loads(text) if text != "{}" else NOTHING


_NO_INTEGRALS = Integrals()
_tariffs: dict[str, Tariff] = {}
"""By their stored values, written out: a thousand tasks have a handful of tariffs."""


def _integrals(values: dict[str, Any]) -> Integrals:
    return Integrals(**values) if any(values.values()) else _NO_INTEGRALS


def _tariff(values: dict[str, Any]) -> Tariff:
    key = repr(values)  # a quarter of what its JSON costs
    found = _tariffs.get(key)
    if found is None:
        if len(_tariffs) >= MOST_TARIFFS:
            _tariffs.clear()
        found = Tariff(**values)
        for price in (found.version, found.per_core_hour, found.per_gib_hour, *found.custom.values()):
            if not isinstance(price, int | float):  # it would be noticed only by who makes a bill of it
                raise TypeError(f"a price of tariff {found.name!r} is {price!r}")
        _tariffs[key] = found
    return found


def encode_map(values: Mapping[str, str]) -> str:
    """Return the JSON of tags or metadata."""
    return _encode_json(dict(values)) if values else "{}"


def held_key(task: Task) -> str | None:
    """Return the idempotency key this task answers for: none once it ended in a way that frees the key (G2)."""
    if not task.idempotency_key or (task.ended and task.outcome in FREES_IDEMPOTENCY_KEY):
        return None
    return task.idempotency_key


def detail(task: Task) -> str:
    """Return the JSON of what no query filters by."""
    stop = task.stop
    return _encode_json(
        {
            "key": task.idempotency_key,
            "retries_used": task.retries_used,
            "queued_time": task.queued_time,
            "incarnation": task.incarnation,
            "boot_id": task.boot_id,
            "launch_time": task.launch_time,
            "start_time": task.start_time,
            "gone_time": task.gone_time,
            "pid": task.pid,
            "exit_code": task.exit_code,
            "exit_signal": task.exit_signal,
            "exit_message": task.exit_message,
            "stop": stop and [stop.cause, stop.time, stop.grace_seconds, stop.reason, stop.serial],
            "wait": task.wait and astuple(task.wait),
            "unkillable": task.unkillable_pids,
            "gpus": task.gpus,
            "target": task.target and [task.target.pid, task.target.start_ticks, task.target.boot_id],
            "earlier": _values(task.earlier),
            "tariff": _values(task.tariff),
        }
    )


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
    metrics, progress = usage.metrics, usage.progress
    return _encode_json(
        {
            "metrics": {name: getattr(metrics, name) for name in _METRICS} | {"gpus": [astuple(gpu) for gpu in metrics.gpus]},
            "integrals": _values(usage.integrals),
            "progress": {name: getattr(progress, name) for name in _PROGRESS},
        }
    )


def decode_usage(text: str | None) -> Usage | None:
    """Read back what `encode_usage` wrote; None for an attempt without usage."""
    if text is None or text == "{}":
        return None
    values = json.loads(text)
    metrics = values["metrics"]
    metrics["source"] = MetricsSource(metrics["source"])
    metrics["memory_source"] = MemorySource(metrics["memory_source"])
    metrics["gpus"] = tuple(GpuUse(*gpu) for gpu in metrics["gpus"])
    return Usage(Metrics(**metrics), Integrals(**values["integrals"]), Progress(**values["progress"]))


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
    more = json.loads(row[14])
    stop = more["stop"]
    wait = more.get("wait")  # not in rows of before retries were built
    target = more.get("target")  # not in rows of before attaching was built
    return Task(
        token=row[15],
        spec=decode_spec(spec),
        spec_hash=spec_hash,
        create_time=create_time,
        tenant=intern(tenant),
        node=intern(node),
        executor=intern(executor),
        idempotency_key=more["key"],
        tags=decode_map(tags),
        metadata=decode_map(metadata),
        priority=priority,
        state=State(state),
        outcome=Outcome(outcome),
        attempt=attempt,
        retries_used=more["retries_used"],
        queued_time=more["queued_time"],
        incarnation=more["incarnation"],
        boot_id=intern(more["boot_id"]),
        launch_time=more["launch_time"],
        start_time=more["start_time"],
        end_time=end_time,
        gone_time=more["gone_time"],
        pid=more["pid"],
        exit_code=more["exit_code"],
        exit_signal=more["exit_signal"],
        exit_message=more["exit_message"],
        stop=StopOrder(Cause(stop[0]), *stop[1:]) if stop else None,
        wait=Wait(*wait) if wait else None,
        unkillable_pids=tuple(more["unkillable"]),
        gpus=tuple(more.get("gpus", ())),
        target=Target(*target) if target else None,
        usage=decode_usage(row[16]),
        earlier=_integrals(more["earlier"]),
        tariff=_tariff(more["tariff"]),
        seq=seq,
    )
