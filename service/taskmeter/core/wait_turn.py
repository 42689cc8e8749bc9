"""Put a waiting task into its queue: at once, or when its wait for the next attempt is over.

The wait is in the store, so a daemon that starts takes it up where the one before left it.
"""

from __future__ import annotations

import time

from taskmeter.core.next_attempt import clock_seconds
from taskmeter.core.service import Service
from taskmeter.model.state import State
from taskmeter.model.task import Task

LONGEST_TIMER_SECONDS = 60.0
"""The loop's clock stands still while the host is suspended, the wait's does not: look again so often."""


def wait_turn(service: Service, task: Task) -> None:
    """Queue a task in NONE as soon as it is due; harmless if it is queued already, or will be. The caller pumps."""
    left = task.wait.left_seconds(clock_seconds()) if task.wait is not None else 0.0
    if left > 0.0:
        service.scheduler.hold(task)
        if task.token not in service.not_due:
            service.not_due.add(task.token)
            service.call_later(min(left, LONGEST_TIMER_SECONDS), _look_again, service, task.token, task.attempt)
    elif service.scheduler.position(task.token) is None:
        service.scheduler.enqueue(task)


def _look_again(service: Service, token: str, attempt: int) -> None:
    entry = service.live.get(token)
    if entry is None or entry.task.attempt != attempt or entry.task.state is not State.NONE:
        return
    service.not_due.discard(token)
    wait_turn(service, entry.task)
    service.pump()


def take_up(service: Service, task: Task) -> Task:
    """Return a waiting task as an earlier daemon left it, its wait counted by this boot's clock."""
    if task.wait is None:
        return task
    return task.evolve(wait=task.wait.moved_to(service.boot_id, clock_seconds(), time.time()))
