"""Keep up what a task's directory says of it: a store that is built anew knows no more than that.

The record is written when an attempt is accepted, and again when somebody has changed what no other file there tells: tags,
metadata, priority, the cause of a stop, and the end of a task that never ran. What a shim writes is not repeated in it.
"""

from __future__ import annotations

import asyncio
import logging

from taskmeter.core.next_attempt import OF_ONE_ATTEMPT
from taskmeter.core.service import Service
from taskmeter.model.state import State
from taskmeter.model.task import Cause, Task

log = logging.getLogger(__name__)


def recorded(task: Task) -> Task:
    """Return the task as its record has it: as it ended if it never ran here, else as it was accepted, but with its stop."""
    if task.ended and (not task.launch_time or task.spec.external is not None):
        return task
    blank = Task(token="", spec=task.spec, spec_hash=b"", create_time=0.0)
    kept = {"stop", "wait"} if task.state is State.NONE else {"stop"}
    fields = {name: getattr(blank, name) for name in OF_ONE_ATTEMPT if name not in kept}
    return task.evolve(state=State.NONE, **fields)


async def keep_record(service: Service, token: str, tenant: str) -> None:
    """Write what is known of a task now; durable when it returns. The caller holds no lock of it.

    A failure is logged, not raised: what was asked for is in the database. Raises `NotFoundError` if the task was deleted.
    """
    async with service.change(token) as entry:
        await write_record(service, entry.task if entry else service.find(token, tenant))


async def write_record(service: Service, task: Task) -> None:
    """Do what `keep_record` does; the caller holds the entry's lock, or of an ended task the service's."""
    data = _pack(service, task)
    try:
        await asyncio.to_thread(service.executor.rewrite_record, task.token, task.attempt, data)
    except OSError as error:
        _complain(task, error)


def bury(service: Service, task: Task) -> None:
    """Leave the end of a task that never ran in its directory, too: a store that is built from there must not run it."""
    try:
        # A power cut may lose this together with the database; what is torn then is not run either.
        service.executor.rewrite_record(task.token, task.attempt, _pack(service, task), durable=False)
        cause = task.stop.cause if task.stop else Cause.CANCEL
        service.executor.cancel_unclaimed(task.token, task.attempt, task.incarnation, cause)
    except OSError as error:
        _complain(task, error)


def _pack(service: Service, task: Task) -> bytes:
    return service.store.pack(recorded(task), service.codec.encode_spec(task.spec))


def _complain(task: Task, error: OSError) -> None:
    log.warning("task %s: its directory does not have its last change: %s", task.token, error.strerror)
