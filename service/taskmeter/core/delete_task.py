"""Delete an ended task: its row and its files; its events stay until they are compacted."""

from __future__ import annotations

import time

from taskmeter.core.ports import Change
from taskmeter.core.service import Service
from taskmeter.errors import PreconditionError
from taskmeter.model.event import Event, TaskDeleted


async def delete_task(service: Service, token: str, tenant: str) -> None:
    """Raises `PreconditionError` NOT_TERMINAL for a live task."""
    task = service.find(token, tenant)
    if not task.ended:
        raise PreconditionError("the task has not ended", reason="NOT_TERMINAL", hint=f"stop it first: taskmeter stop {token}")
    gone = Event(token, time.time(), task.attempt, task.tags, TaskDeleted())
    await service.store.commit([Change(task, (gone,), delete=True)])
    service.forget(token)
    await service.executor.remove(token)
