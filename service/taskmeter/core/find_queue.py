"""Find a queue by its name, and see whether one more task may wait in it."""

from __future__ import annotations

from taskmeter.core.service import Service
from taskmeter.errors import LimitError, NotFoundError
from taskmeter.model.queue import DEFAULT_QUEUE, Queue

RETRY_SECONDS = 1.0


def find_queue(service: Service, tenant: str, name: str) -> Queue:
    """Return the tenant's queue of this name; "" is the default one. Raises `NotFoundError` QUEUE_NOT_FOUND."""
    queue = service.scheduler.queue(tenant, name or DEFAULT_QUEUE)
    if queue is None:
        raise NotFoundError(
            f"there is no queue {name!r}",
            reason="QUEUE_NOT_FOUND",
            metadata={"queue": name},
            hint=f"make it: taskmeter queue put {name}",
        )
    return queue


def check_room(service: Service, tenant: str, name: str) -> None:
    """Raise `LimitError` QUEUE_FULL if as many tasks wait in the queue as may; and as `find_queue`."""
    queue = find_queue(service, tenant, name)
    group = service.scheduler.group(tenant, queue.name)
    if group.is_full:
        raise LimitError(
            f"{group.waiting_count} tasks wait in queue {queue.name!r}; at most {queue.max_waiting} may",
            reason="QUEUE_FULL",
            metadata={"queue": queue.name},
            hint="try again when some have started, or raise its --max-size",
            retry_after_seconds=RETRY_SECONDS,
        )
