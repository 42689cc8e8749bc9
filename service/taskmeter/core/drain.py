"""End all work by policy, because the host or the daemon is to go away for good."""

from __future__ import annotations

import asyncio

from taskmeter.core.service import Service
from taskmeter.core.terminate import terminate
from taskmeter.errors import PreconditionError
from taskmeter.model.state import State
from taskmeter.model.task import Cause


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


async def drained(service: Service) -> None:
    """Return when no task runs any more. It is asked for while the service drains, so none begins."""
    while busy := next((entry for entry in service.live.values() if entry.task.state is not State.NONE), None):
        await service.wait_for_change(busy, None)
