"""Wait until a task is in one of some states; pushed, never polled, and never beyond its end."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet

from taskmeter.core.service import Service
from taskmeter.model.state import State


async def wait_task(service: Service, token: str, tenant: str, wanted: AbstractSet[State], timeout_seconds: float | None) -> bool:
    """Return True when the task is in a wanted state or has ended, False when the time is over.

    No wanted states means its end. `timeout_seconds` None waits for as long as the caller does.
    """
    task = service.find(token, tenant)
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while not task.ended and task.state not in wanted:
        entry = service.live.get(token)
        if entry is None:
            task = service.find(token, tenant)
            continue
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        await service.wait_for_change(entry, left)
        task = entry.task
    return True
