"""Build reports for ReportProgress, and what is in them, from plain arguments; no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from taskmeter.client.items import item_id_message
from taskmeter.errors import InvalidArgumentError
from taskmeter.model.item import ItemStatus, MessageLevel, StepEventType
from taskmeter.v1 import event_pb2, item_pb2, task_pb2
from taskmeter.v1 import task_service_pb2 as tasks

Reports = Iterable[tasks.ReportProgressRequest]


def report(
    *,
    total: int | None = None,
    total_size: int | None = None,
    add: int = 0,
    size: int = 0,
    fail: int = 0,
    failed_size: int = 0,
    status: str | None = None,
    current_object: str | None = None,
    ready: bool = False,
    count: Mapping[str, int] | None = None,
    messages: Iterable[event_pb2.Message] = (),
    items: Iterable[item_pb2.ItemChanged] = (),
    steps: Iterable[item_pb2.StepEvent] = (),
    exit_code: int | None = None,
) -> tasks.ReportProgressRequest:
    """Build one report. `total` and `total_size` and the texts replace what was said before, None leaves it; the rest is added.

    `add` and `size` count items done and their bytes, `fail` and `failed_size` failed ones, `count` the work's own counters.
    """
    return tasks.ReportProgressRequest(
        set_total_count=total,
        set_total_size=total_size,
        add_completed_count=add,
        add_completed_size=size,
        add_failed_count=fail,
        add_failed_size=failed_size,
        status=status,
        current_object=current_object,
        ready=ready,
        add_custom=count,
        messages=messages,
        items=items,
        steps=steps,
        exit_code=exit_code,
    )


def message(text: str, level: MessageLevel | int | str = MessageLevel.NOTE) -> event_pb2.Message:
    """Build something to say: `level` is a `MessageLevel`, or its name in any case ("warning")."""
    return event_pb2.Message(level=_number(MessageLevel, level), text=text)  # type: ignore[arg-type]


def item(
    item_id: Any,
    status: ItemStatus | int | str,
    *,
    stage: str = "",
    attempt: int = 0,
    error: str = "",
    worker: str = "",
    size: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> item_pb2.ItemChanged:
    """Build that an item has changed. `item_id` is a text, an integer, or any other value that JSON can hold."""
    number: Any = _number(ItemStatus, status)
    return item_pb2.ItemChanged(
        item_id=item_id_message(item_id),
        status=number,
        stage=stage,
        attempt=attempt,
        error=error,
        worker=worker,
        size=size,
        metadata=metadata,
    )


def step(
    item_id: Any,
    name: str,
    kind: StepEventType | int | str,
    *,
    stage: str = "",
    attempt: int = 0,
    error: str = "",
    worker: str = "",
    duration_seconds: float | None = None,
) -> item_pb2.StepEvent:
    """Build that something happened to a step of an item: `kind` is start, complete, retry or fail."""
    number: Any = _number(StepEventType, kind)
    return item_pb2.StepEvent(
        item_id=item_id_message(item_id),
        step=name,
        type=number,
        stage=stage,
        attempt=attempt,
        error=error,
        worker=worker,
        duration_seconds=duration_seconds,
    )


def external_spec(
    kind: str = "",
    *,
    name: str = "",
    project_id: str = "",
    source: str = "",
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    timeout_seconds: float = 0.0,
    idle_ttl_seconds: float = 0.0,
    grace_period_seconds: float | None = None,
    resources: task_pb2.Resources | None = None,
    queue: str = "",
    priority: int = 0,
    start_after_time: float = 0.0,
    after: Iterable[str] = (),
    tariff: str = "",
    total_count: int = 0,
    total_size: int = 0,
    announces_ready: bool = False,
) -> task_pb2.TaskSpec:
    """Build the spec of work that runs elsewhere and reports itself; `kind` says to people what it is."""
    spec = task_pb2.TaskSpec(
        name=name,
        project_id=project_id,
        source=source,
        tags=tags,
        metadata=metadata,
        timeout_seconds=timeout_seconds,
        idle_ttl_seconds=idle_ttl_seconds,
        grace_period_seconds=grace_period_seconds,
        resources=resources,
        queue=queue,
        priority=priority,
        start_after_time=start_after_time,
        after=after,
        tariff=tariff,
        total_count=total_count,
        total_size=total_size,
        announces_ready=announces_ready,
    )
    spec.external.kind = kind
    spec.external.SetInParent()
    return spec


def _number(kind: type[MessageLevel | ItemStatus | StepEventType], value: int | str) -> int:
    if not isinstance(value, str):
        return int(value)
    try:
        return int(kind[value.upper().replace("-", "_")])
    except KeyError:
        names = ", ".join(one.name.lower() for one in kind if one)
        problem = f"{value!r} is none of {names}"
        raise InvalidArgumentError(problem, fields=[(kind.__name__, problem)]) from None


def with_token(token: str, stream: Reports) -> Iterator[tasks.ReportProgressRequest]:
    """Yield the reports of a stream; the first one, where it counts, names the task."""
    for index, each in enumerate(stream):
        yield each if index else named(token, each)


async def each_with_token(
    token: str, stream: Reports | AsyncIterable[tasks.ReportProgressRequest]
) -> AsyncIterator[tasks.ReportProgressRequest]:
    """Do the same asynchronously."""
    if not isinstance(stream, AsyncIterable):
        for each in with_token(token, stream):
            yield each
        return
    first = True
    async for each in stream:
        yield named(token, each) if first else each
        first = False


def named(token: str, first: tasks.ReportProgressRequest) -> tasks.ReportProgressRequest:
    """Return a copy of a stream's first report that names the task."""
    copy = tasks.ReportProgressRequest()
    copy.CopyFrom(first)
    copy.token = token
    return copy
