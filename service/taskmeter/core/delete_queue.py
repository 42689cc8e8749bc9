"""Delete a queue in which nothing waits or runs: durable when it returns, in the store and in the file beside it.

Nothing is awaited between the look for its tasks and the moment from which new ones are refused: whoever starts a task into it
is before that, and the queue stays, or after it, and there is no such queue.
"""

from __future__ import annotations

import logging

from taskmeter.core.find_queue import find_queue
from taskmeter.core.keep_queues import drop_queue, keep_queues
from taskmeter.core.service import Service
from taskmeter.errors import InvalidArgumentError, PreconditionError, TaskmeterError
from taskmeter.model.queue import DEFAULT_QUEUE, Queue

log = logging.getLogger(__name__)


async def delete_queue(service: Service, tenant: str, name: str) -> None:
    """Forget a queue of the tenant.

    Raises `NotFoundError` QUEUE_NOT_FOUND, `PreconditionError` QUEUE_NOT_EMPTY, `InvalidArgumentError` for the default queue,
    and what the store raises; then the queue is as it was.
    """
    if name == DEFAULT_QUEUE:
        problem = "the default queue is always there"
        raise InvalidArgumentError(
            f"name: {problem}", fields=[("name", problem)], hint=f"take its bounds away: taskmeter queue put {DEFAULT_QUEUE}"
        )
    async with service.queue_lock:
        queue = find_queue(service, tenant, name)
        _check_empty(service, queue)
        service.scheduler.drop_queue(queue)
        try:
            if service.queue_file is not None:
                await drop_queue(service, service.queue_file, queue)
            await service.store.delete_queue(tenant, name)
        except BaseException:
            service.scheduler.put_queue(queue)
            await _put_back(service, queue)
            raise


def _check_empty(service: Service, queue: Queue) -> None:
    group = service.scheduler.group(*queue.key)
    waiting, running = group.waiting_count, group.running_count
    if not waiting and not running:
        # One whose stop is being stored, or whose end is, has no place in the queue; should that fail, it needs one again.
        waiting = sum((entry.task.tenant, entry.task.spec.queue or DEFAULT_QUEUE) == queue.key for entry in service.live.values())
    if waiting or running:
        raise PreconditionError(
            f"{waiting} tasks wait and {running} run in queue {queue.name!r}",
            reason="QUEUE_NOT_EMPTY",
            hint=f"stop them first: taskmeter stop --queue {queue.name}",
            metadata={"queue": queue.name, "waiting_count": str(waiting), "running_count": str(running)},
        )


async def _put_back(service: Service, queue: Queue) -> None:
    """The store has it still, so the file should; if it does not, the next start or the next change writes it."""
    if service.queue_file is None:
        return
    try:
        await keep_queues(service, service.queue_file, queue)
    except (TaskmeterError, OSError) as error:
        log.warning("queue %r is not in the file of queues until that is written again: %s", queue.name, error)
