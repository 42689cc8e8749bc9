"""Define a queue, or change it while it is in use: durable when it returns, and in force at once."""

from __future__ import annotations

import time

from msgspec.structs import replace

from taskmeter.core.find_queue import find_queue
from taskmeter.core.keep_queues import keep_queues
from taskmeter.core.service import Service
from taskmeter.errors import LimitError, NotFoundError
from taskmeter.model.queue import Queue

MAX_QUEUES = 1000
"""Of one tenant."""


async def put_queue(service: Service, tenant: str, name: str, *, max_running: int, max_waiting: int) -> Queue:
    """Make or change a queue; whether it is paused stays. What runs above a lowered bound runs on.

    Raises `LimitError` QUOTA_EXCEEDED, and what the store raises.
    """
    async with service.queue_lock:
        try:
            before = find_queue(service, tenant, name)
        except NotFoundError:
            if len(service.scheduler.queues(tenant)) >= MAX_QUEUES:
                raise LimitError(f"there are {MAX_QUEUES} queues already", reason="QUOTA_EXCEEDED") from None
            before = Queue(tenant, name)
        return await _store(service, replace(before, max_running=max_running, max_waiting=max_waiting))


async def pause_queue(service: Service, tenant: str, name: str, *, paused: bool) -> Queue:
    """Pause a queue or resume it. Raises `NotFoundError` QUEUE_NOT_FOUND, and what the store raises."""
    async with service.queue_lock:
        before = find_queue(service, tenant, name)
        return before if before.paused is paused else await _store(service, before.with_pause(paused))


async def _store(service: Service, queue: Queue) -> Queue:
    queue = queue if queue.create_time else replace(queue, create_time=time.time())
    if service.queue_file is not None:
        await keep_queues(service, service.queue_file, queue)
    await service.store.put_queue(queue)
    service.scheduler.put_queue(queue)
    service.pump()
    return queue
