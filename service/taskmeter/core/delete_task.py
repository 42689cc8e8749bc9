"""Delete ended tasks: their rows and their files; their events stay until they are compacted.

Files first go out of sight in one step, then the rows are deleted, then the files. A daemon that is killed after the first step
leaves a task without files, which is deleted by the next call or pass; after the second, files that the next start deletes.
There are never files without a row among those of the living, from which a rebuilt store would make a task again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from taskmeter import failpoints
from taskmeter.core.ports import Change
from taskmeter.core.service import Service
from taskmeter.errors import NotFoundError, PreconditionError
from taskmeter.model.event import Event, TaskDeleted
from taskmeter.model.task import Task


async def delete_task(service: Service, token: str, tenant: str) -> None:
    """Raises `PreconditionError` NOT_TERMINAL for a live task; `NotFoundError` also for one that is being deleted."""
    task = service.find(token, tenant)
    if not task.ended or token in service.retrying:
        raise PreconditionError("the task has not ended", reason="NOT_TERMINAL", hint=f"stop it first: taskmeter stop {token}")
    if token in service.deleting:
        raise NotFoundError("the task is being deleted")
    await delete_ended(service, [task])


async def delete_ended(service: Service, tasks: Sequence[Task]) -> None:
    """Delete these ended tasks in one transaction. Raises what `Store.commit` raises; then they are all as they were."""
    tokens = [task.token for task in tasks]
    now = time.time()
    service.deleting.update(tokens)
    try:
        for token in tokens:
            service.executor.discard(token)
        changes = [Change(task, (Event(task.token, now, task.attempt, task.tags, TaskDeleted()),), delete=True) for task in tasks]
        try:
            failpoints.hit("retention.before_delete")
            await service.store.commit(changes)
        except BaseException:
            for token in tokens:
                service.executor.take_back(token)
            raise
        for token in tokens:
            service.forget(token)
        service.ingest.forget(frozenset(tokens))
        failpoints.hit("retention.after_delete")
        if service.log_starts:
            gone = frozenset(tokens)
            service.log_starts = {key: offset for key, offset in service.log_starts.items() if key[0] not in gone}
        await service.executor.remove_discarded(tokens)
    finally:
        service.deleting.difference_update(tokens)
