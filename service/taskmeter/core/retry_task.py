"""Run an ended task again: as its next attempt, or as a new task with the same spec."""

from __future__ import annotations

import logging

from taskmeter.core.find_queue import find_queue
from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.next_attempt import fields_of_next_attempt
from taskmeter.core.secrets import unseal
from taskmeter.core.service import Service
from taskmeter.core.start_task import copy_of, prepare, start_task
from taskmeter.errors import NotFoundError, PreconditionError, UnavailableError
from taskmeter.model.state import RETRYABLE, State
from taskmeter.model.task import Task

log = logging.getLogger(__name__)


async def retry_task(service: Service, token: str, tenant: str, *, as_new: bool, new_token: str = "") -> str:
    """Return the token that runs: the same one, or with `as_new` that of the copy, which is `new_token` if that is given.

    Raises what `check_retry` raises; `UnavailableError` DRAINING, `LimitError`; and with `as_new` what `start_task` does.
    """
    task = service.find(token, tenant)
    check_retry(service, task, as_new=as_new)  # before it waits for anybody
    if as_new:
        made, _ = await start_task(service, copy_of(service, task), tenant, token=new_token)
        return made
    if service.draining:
        raise UnavailableError("the daemon is draining and accepts no new work", reason="DRAINING")
    async with service.ended_locks.hold(token):
        task = service.find(token, tenant)
        check_retry(service, task, as_new=False)
        await _begin_again(service, task)
    return token


async def _begin_again(service: Service, task: Task) -> None:
    token = task.token
    fields = fields_of_next_attempt(task)
    service.retrying.add(token)
    service.scheduler.hold(task)  # its queue has one more from now on, and stays
    try:
        await prepare(service, task.evolve(state=State.NONE, **fields), service.codec.encode_spec(task.spec))
        await service.store.commit([change_of(task, [Step(State.NONE, "retry", fields)])])
    except BaseException:
        service.scheduler.remove(token)
        _unprepare(service, token, task.attempt + 1)
        raise
    finally:
        service.retrying.discard(token)
    entry = service.live[token]
    service.scheduler.enqueue(entry.task)
    service.pump()


def check_retry(service: Service, task: Task, *, as_new: bool) -> None:
    """Raise if a task is not one to be retried, whatever room there is.

    `PreconditionError` NOT_RETRYABLE for a live, succeeded or terminated task, one that was attached, and external work; `as_new`
    takes any other that ended. UNSUPPORTED_HERE for one that is encrypted with a key that is not here. `NotFoundError`
    TASK_NOT_FOUND for one that is being deleted, QUEUE_NOT_FOUND if its queue was.
    """
    token = task.token
    if not task.ended:
        raise PreconditionError("the task has not ended", reason="NOT_RETRYABLE")
    if task.spec.attach is not None:
        raise PreconditionError(
            "the process was not started here, so it cannot be run again", reason="NOT_RETRYABLE", hint="attach a new one"
        )
    if task.spec.external is not None:
        raise PreconditionError(
            "the work runs elsewhere, so it cannot be run again from here", reason="NOT_RETRYABLE", hint="start a new task for it"
        )
    if not as_new and task.outcome not in RETRYABLE:
        how = task.outcome.name.lower().replace("_", " ")
        raise PreconditionError(
            f"a task that ended as {how} is not run again", reason="NOT_RETRYABLE", hint="retry it as a new task (--as-new)"
        )
    unseal(service, task)  # without its key it could not run: then it stays as it ended
    find_queue(service, task.tenant, task.spec.queue)
    if as_new:
        return
    if token in service.deleting:
        raise NotFoundError("the task is being deleted")
    if token in service.retrying:
        raise PreconditionError("the task is being retried already", reason="NOT_RETRYABLE")
    holder = service.store.find_key(task.tenant, task.idempotency_key) if task.idempotency_key else None
    if holder is not None and holder.token != token:
        raise PreconditionError(
            "its idempotency key belongs to a newer task now", reason="NOT_RETRYABLE", metadata={"token": holder.token}
        )


def _unprepare(service: Service, token: str, attempt: int) -> None:
    """The next attempt was not accepted: a store that is built anew must not find it and run it."""
    if service.store.failure:  # it may have it all the same: the next daemon will see
        return
    try:
        service.executor.unprepare(token, attempt)
    except OSError as error:
        log.warning("task %s: the directory of an attempt that was refused is still there: %s", token, error.strerror)
