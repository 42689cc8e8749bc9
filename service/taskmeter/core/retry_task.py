"""Run an ended task again: as its next attempt, or as a new task with the same spec."""

from __future__ import annotations

import time

from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.service import Service
from taskmeter.core.start_task import copy_of, prepare, start_task
from taskmeter.errors import NotFoundError, PreconditionError, UnavailableError
from taskmeter.model.state import RETRYABLE, State
from taskmeter.model.task import Task
from taskmeter.model.usage import Integrals

OF_ONE_ATTEMPT = (
    "outcome",
    "incarnation",
    "boot_id",
    "launch_time",
    "start_time",
    "end_time",
    "gone_time",
    "pid",
    "exit_code",
    "exit_signal",
    "exit_message",
    "stop",
    "unkillable_pids",
    "usage",
)
"""Fields of a Task that begin anew with each attempt."""


async def retry_task(service: Service, token: str, tenant: str, *, as_new: bool) -> str:
    """Return the token that runs: the same one, or with `as_new` that of the copy.

    Raises `PreconditionError` NOT_RETRYABLE for a live, succeeded or terminated task and one that was attached; `as_new` takes
    any other that ended.
    """
    task = service.find(token, tenant)
    if not task.ended:
        raise PreconditionError("the task has not ended", reason="NOT_RETRYABLE")
    if task.spec.attach is not None:
        raise PreconditionError(
            "the process was not started here, so it cannot be run again", reason="NOT_RETRYABLE", hint="attach a new one"
        )
    if as_new:
        new_token, _ = await start_task(service, copy_of(task), tenant)
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
    holder = service.store.find_key(tenant, task.idempotency_key) if task.idempotency_key else None
    if holder is not None and holder.token != token:
        raise PreconditionError(
            "its idempotency key belongs to a newer task now", reason="NOT_RETRYABLE", metadata={"token": holder.token}
        )
    service.retrying.add(token)
    try:
        await prepare(service, token, task.attempt + 1, service.codec.encode_spec(task.spec))
        step = Step(State.NONE, "retry", _next_attempt(task))
        await service.store.commit([change_of(task, [step])])
    finally:
        service.retrying.discard(token)
    entry = service.live[token]
    service.scheduler.enqueue(entry.task)
    service.pump()
    return token


def _next_attempt(task: Task) -> dict[str, object]:
    blank = Task(token="", spec=task.spec, spec_hash=b"", create_time=0.0)
    fields: dict[str, object] = {name: getattr(blank, name) for name in OF_ONE_ATTEMPT}
    used = task.usage.integrals if task.usage else Integrals()
    fields |= {"attempt": task.attempt + 1, "queued_time": time.time(), "earlier": task.earlier + used}
    return fields
