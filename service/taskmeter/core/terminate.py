"""Ask a task to end: durable when this returns; the supervisor does the rest, with or without this daemon."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from taskmeter import failpoints
from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.outcome import NO_EXIT_CODE
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import finish, reconcile
from taskmeter.errors import PreconditionError
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Task

_WAITING_OUTCOME = {Cause.CANCEL: Outcome.CANCELLED, Cause.INTERRUPT: Outcome.INTERRUPTED}


def ended_error(task: Task) -> PreconditionError:
    """The error for an order to a task that has ended."""
    state, outcome = task.state.name, task.outcome.name
    return PreconditionError(
        f"the task has ended already: {outcome.lower().replace('_', ' ')}",
        reason="TASK_ENDED",
        metadata={"state": f"TASK_STATE_{state}", "outcome": f"TASK_OUTCOME_{outcome}"},
    )


async def terminate(
    service: Service,
    token: str,
    tenant: str,
    *,
    grace_seconds: float | None = None,
    reason: str = "",
    cause: Cause = Cause.CANCEL,
) -> bool:
    """Accept a stop; return whether the task was stopping already, in which case a shorter grace escalates.

    Grace is counted from the first TERM; 0 kills the whole tree at once. Raises `NotFoundError`, `PreconditionError` TASK_ENDED.
    """
    task = service.find(token, tenant)
    entry = service.live.get(token)
    if entry is None:
        raise ended_error(task)
    async with entry.lock:
        await reconcile(service, entry)  # it may have ended already; then this stop is too late and must not claim otherwise
        task = entry.task
        if task.ended:
            raise ended_error(task)
        grace = task.spec.grace_period_seconds if grace_seconds is None else grace_seconds
        now = time.time()
        if task.state is State.NONE:
            await _cancel_waiting(service, entry, StopOrder(cause, now, grace, reason))
            return False
        already = task.stop is not None or task.state is State.STOPPING
        if already:
            await _escalate(service, entry, cause, now, grace, explicit=grace_seconds is not None)
            return True
        stop = StopOrder(cause, now, grace, reason)
        # In STARTING the state waits for the process: one that was exec'ed has RUNNING before its end.
        steps = [] if task.state is State.STARTING else [Step(State.STOPPING, reason or "stopped on request")]
        await advance(service, task, steps, stop=stop)
        failpoints.hit("stop.before_order")
        if entry.launched:
            service.executor.order_stop(token, task.attempt, cause, grace, stop.serial)
        return False


async def _cancel_waiting(service: Service, entry: Entry, stop: StopOrder) -> None:
    message = "stopped on request, before it started"
    fields: dict[str, Any] = {
        "stop": stop,
        "outcome": _WAITING_OUTCOME.get(stop.cause, Outcome.CANCELLED),
        "exit_code": NO_EXIT_CODE,
        "exit_message": message,
        "end_time": stop.time,
        "gone_time": stop.time,
    }
    service.scheduler.remove(entry.task.token)
    try:
        task = await advance(service, entry.task, [Step(State.STOPPING, message, fields), Step(State.CANCELLED, message)])
    except BaseException:
        service.scheduler.enqueue(entry.task)
        raise
    finish(service, task)


async def _escalate(service: Service, entry: Entry, cause: Cause, now: float, grace: float, *, explicit: bool) -> None:
    task, stop = entry.task, entry.task.stop
    if not explicit:
        return
    if stop is None:  # it ended by itself, and only the rest of its tree is being cleared away
        stop = StopOrder(cause, now, grace)
    elif now + grace < stop.time + stop.grace_seconds:
        stop = replace(stop, grace_seconds=max(0.0, now + grace - stop.time) if grace else 0.0, serial=stop.serial + 1)
    else:
        return
    await advance(service, task, [], stop=stop)
    if entry.launched:
        service.executor.order_stop(task.token, task.attempt, stop.cause, stop.grace_seconds, stop.serial)
