"""Change what a user may change: tags, metadata, and the priority of a task that waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from taskmeter.core.keep_record import keep_record
from taskmeter.core.ports import Change
from taskmeter.core.service import Service
from taskmeter.errors import InvalidArgumentError, NotFoundError, PreconditionError
from taskmeter.model.event import Event, MetadataChanged
from taskmeter.model.state import State
from taskmeter.model.task import Task

MAX_KEYS = 64


async def update_task(
    service: Service,
    token: str,
    tenant: str,
    *,
    set_metadata: Mapping[str, str],
    delete_metadata: Sequence[str],
    replace_metadata: bool,
    set_tags: Mapping[str, str],
    delete_tags: Sequence[str],
    priority: int | None,
) -> None:
    """Merge, delete or replace. Raises `PreconditionError` for a priority on a task that does not wait any more."""
    service.find(token, tenant)
    async with service.change(token):
        task = service.find(token, tenant)
        await _update(service, task, set_metadata, delete_metadata, replace_metadata, set_tags, delete_tags, priority)
    with suppress(NotFoundError):  # deleted meanwhile
        await keep_record(service, token, tenant)


async def _update(
    service: Service,
    task: Task,
    set_metadata: Mapping[str, str],
    delete_metadata: Sequence[str],
    replace_metadata: bool,
    set_tags: Mapping[str, str],
    delete_tags: Sequence[str],
    priority: int | None,
) -> None:
    if priority is not None and task.state is not State.NONE:
        raise PreconditionError(
            "the priority can be changed only while the task waits", reason="UNSUPPORTED_HERE", metadata={"field": "priority"}
        )
    metadata = _merged("set_metadata", {} if replace_metadata else task.metadata, set_metadata, delete_metadata)
    tags = _merged("set_tags", task.tags, set_tags, delete_tags)
    changed = task.evolve(metadata=metadata, tags=tags, priority=task.priority if priority is None else priority)
    if changed == task:
        return
    events: tuple[Event, ...] = ()
    if (metadata, tags) != (task.metadata, task.tags):
        events = (Event(task.token, time.time(), task.attempt, tags, MetadataChanged(tags, metadata)),)
    await service.store.commit([Change(changed, events)])
    if changed.priority != task.priority:
        service.scheduler.reorder(changed)
        service.pump()


def _merged(field: str, old: Mapping[str, str], new: Mapping[str, str], gone: Sequence[str]) -> dict[str, str]:
    merged = {**old, **new}
    for key in gone:
        merged.pop(key, None)
    if len(merged) > MAX_KEYS:
        problem = f"leaves {len(merged)} keys; at most {MAX_KEYS} are kept"
        raise InvalidArgumentError(f"{field}: {problem}", fields=[(field, problem)])
    return merged
