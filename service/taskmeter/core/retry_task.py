"""Run an ended task again: as its next attempt, or as a new task with the same spec."""

from __future__ import annotations

from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.next_attempt import fields_of_next_attempt
from taskmeter.core.secrets import unseal
from taskmeter.core.service import Service
from taskmeter.core.start_task import copy_of, prepare, start_task
from taskmeter.errors import NotFoundError, PreconditionError, UnavailableError
from taskmeter.model.state import RETRYABLE, State


async def retry_task(service: Service, token: str, tenant: str, *, as_new: bool) -> str:
    """Return the token that runs: the same one, or with `as_new` that of the copy.

    Raises `PreconditionError` NOT_RETRYABLE for a live, succeeded or terminated task and one that was attached; `as_new` takes
    any other that ended. UNSUPPORTED_HERE for one that is encrypted with a key that is not here.
    """
    task = service.find(token, tenant)
    if not task.ended:
        raise PreconditionError("the task has not ended", reason="NOT_RETRYABLE")
    if task.spec.attach is not None:
        raise PreconditionError(
            "the process was not started here, so it cannot be run again", reason="NOT_RETRYABLE", hint="attach a new one"
        )
    if as_new:
        new_token, _ = await start_task(service, copy_of(service, task), tenant)
        return new_token
    if task.outcome not in RETRYABLE:
        how = task.outcome.name.lower().replace("_", " ")
        raise PreconditionError(
            f"a task that ended as {how} is not run again", reason="NOT_RETRYABLE", hint="retry it as a new task (--as-new)"
        )
    if service.draining:
        raise UnavailableError("the daemon is draining and accepts no new work", reason="DRAINING")
    if token in service.deleting:
        raise NotFoundError("the task is being deleted")
    if token in service.retrying:
        raise PreconditionError("the task is being retried already", reason="NOT_RETRYABLE")
    unseal(service, task)  # without its key it could not run: then it stays as it ended
    holder = service.store.find_key(tenant, task.idempotency_key) if task.idempotency_key else None
    if holder is not None and holder.token != token:
        raise PreconditionError(
            "its idempotency key belongs to a newer task now", reason="NOT_RETRYABLE", metadata={"token": holder.token}
        )
    service.retrying.add(token)
    try:
        fields = fields_of_next_attempt(task)
        await prepare(service, task.evolve(state=State.NONE, **fields), service.codec.encode_spec(task.spec))
        step = Step(State.NONE, "retry", fields)
        await service.store.commit([change_of(task, [step])])
    finally:
        service.retrying.discard(token)
    entry = service.live[token]
    service.scheduler.enqueue(entry.task)
    service.pump()
    return token
