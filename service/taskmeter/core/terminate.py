"""Ask a task to end: durable when this returns; the supervisor does the rest, with or without this daemon."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from taskmeter import failpoints
from taskmeter.core.keep_record import write_record
from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.outcome import NO_EXIT_CODE
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import finish, reconcile
from taskmeter.core.wait_turn import wait_turn
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
            if task.stop is None and task.end_time and cause is Cause.CANCEL:
                await _cancel_finalising(service, entry, StopOrder(cause, now, grace, reason))
            else:
                await _escalate(service, entry, cause, now, grace, explicit=grace_seconds is not None)
            return True
        stop = StopOrder(cause, now, grace, reason)
        # In STARTING the state waits for the process: one that was exec'ed has RUNNING before its end.
        steps = [] if task.state is State.STARTING else [Step(State.STOPPING, reason or "stopped on request")]
        await advance(service, task, steps, stop=stop)
        failpoints.hit("stop.before_order")
        if entry.launched:
            service.executor.order_stop(token, task.attempt, cause, grace, stop.serial)
        if cause is Cause.CANCEL and (reason or not entry.launched):  # the order does not say why, or is not written yet
            await write_record(service, entry.task)
        return False


async def _cancel_waiting(service: Service, entry: Entry, stop: StopOrder) -> None:
    message = f"stopped on request, before {'its next attempt' if entry.task.attempt else 'it'} started"
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
        wait_turn(service, entry.task)
        raise
    service.not_due.discard(task.token)
    finish(service, task, attempt=task.attempt)


async def _cancel_finalising(service: Service, entry: Entry, stop: StopOrder) -> None:
    """Its main process has ended by itself, the rest of its tree has not: who stops it now has stopped it, and is told so."""
    task = entry.task
    why = f"stopped on request ({stop.reason})" if stop.reason else "stopped on request"
    message = f"{why} while the rest of its processes was being ended; its main process: {task.exit_message}"
    await advance(service, task, [], stop=stop, outcome=Outcome.CANCELLED, exit_message=message)
    service.executor.order_stop(task.token, task.attempt, stop.cause, stop.grace_seconds, stop.serial)


async def _escalate(service: Service, entry: Entry, cause: Cause, now: float, grace: float, *, explicit: bool) -> None:
    task, stop = entry.task, entry.task.stop
    if stop is None:  # it ended by itself, and only the rest of its tree is being cleared away
        if not explicit:
            return
        order = StopOrder(cause, now, grace)
    else:
        order = stop
        if cause is Cause.CANCEL and stop.cause is not Cause.CANCEL:  # interrupted or out of time, and now not wanted any more
            order = replace(order, cause=cause)
        if explicit and now + grace < stop.time + stop.grace_seconds:
            left = max(0.0, now + grace - stop.time) if grace else 0.0
            order = replace(order, grace_seconds=left, serial=stop.serial + 1)
    if order == stop:
        return
    await advance(service, task, [], stop=order)
    if stop is not None and order.cause is not stop.cause:  # of an order that is there already, the first cause stays
        await write_record(service, entry.task)
    if entry.launched and order.serial > (stop.serial if stop else 0):
        service.executor.order_stop(task.token, task.attempt, order.cause, order.grace_seconds, order.serial)
