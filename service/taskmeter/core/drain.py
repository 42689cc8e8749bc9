"""End all work by policy, because the host or the daemon is to go away for good."""

from __future__ import annotations

import asyncio
import time

from taskmeter.core.service import Service
from taskmeter.core.terminate import terminate
from taskmeter.errors import PreconditionError
from taskmeter.model.state import State
from taskmeter.model.task import Cause, Task

OVERDUE_SECONDS = 10.0
"""After its grace period a tree is killed, and empty within a second (G7). What is there after that hangs in the kernel, as on a
dead file server, or nobody is left to see its end: waiting for it would be for ever."""
LOOK_SECONDS = 1.0


async def drain(service: Service, *, grace_seconds: float | None, reason: str) -> int:
    """Accept no new work, interrupt what runs, and return how many tasks are stopping.

    Waiting tasks stay in the store, and so do interrupted ones that are to run again: the next daemon starts them.
    """
    service.draining = True
    running = [entry.task for entry in service.live.values() if entry.task.state is not State.NONE]

    async def stop(token: str, tenant: str) -> None:
        try:
            await terminate(service, token, tenant, grace_seconds=grace_seconds, reason=reason, cause=Cause.INTERRUPT)
        except PreconditionError:
            pass  # it ended by itself just now

    await asyncio.gather(*(stop(task.token, task.tenant) for task in running))
    return len(running)


async def drained(service: Service) -> list[Task]:
    """Return when no task runs any more, or only those that should have been gone for some time; and which these are.

    It is asked for while the service drains, so none begins.
    """
    while busy := [entry for entry in service.live.values() if entry.task.state is not State.NONE]:
        last = max(busy, key=lambda entry: overdue_time(entry.task))
        left = overdue_time(last.task) - time.time()
        if left <= 0:
            return [entry.task for entry in busy]
        await service.wait_for_change(last, min(left, LOOK_SECONDS))
    return []


def overdue_time(task: Task) -> float:
    """Return when a task can no more be expected to end, in Unix seconds; it lies in the future while nobody has ended it."""
    if task.stop is not None:
        return task.stop.time + task.stop.grace_seconds + OVERDUE_SECONDS
    return (task.end_time or time.time()) + task.spec.grace_period_seconds + OVERDUE_SECONDS
