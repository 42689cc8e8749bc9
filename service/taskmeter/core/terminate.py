"""Ask a task to end: durable when this returns; the supervisor does the rest, with or without this daemon."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from taskmeter import failpoints
from taskmeter.core.cancel_waiting import cancel_change, held_back, settle_cancelled, waiting_for
from taskmeter.core.keep_record import write_record
from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.ports import Change
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import observe, reconcile
from taskmeter.errors import PreconditionError
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Task


class Wish(Struct, frozen=True):
    """What is asked of the tasks that are to end."""

    cause: Cause = Cause.CANCEL
    grace_seconds: float | None = None
    """From the first TERM to the kill; 0 kills the whole tree at once; None = what each spec says."""
    reason: str = ""

    def order(self, task: Task, now: float) -> StopOrder:
        """Return the order for one task."""
        grace = task.spec.grace_period_seconds if self.grace_seconds is None else self.grace_seconds
        return StopOrder(self.cause, now, grace, self.reason)


class Plan(Struct, frozen=True):
    """What a wish means for a task that has been given its slot."""

    entry: Entry
    change: Change | None = None
    """None: nothing is to be stored, it stops like that already."""
    tell: StopOrder | None = None
    """What its supervisor is told once that is stored."""
    already: bool = False
    """It was stopping before."""
    record: bool = False
    """Its directory is told, too, what its stop order does not say."""


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
    together: Sequence[Change] = (),
) -> bool:
    """Accept a stop; return whether the task was stopping already, in which case a shorter grace escalates.

    Grace is counted from the first TERM; 0 kills the whole tree at once. `together` is committed in the same transaction.
    Raises `NotFoundError`, `PreconditionError` TASK_ENDED.
    """
    task = service.find(token, tenant)
    entry = service.live.get(token)
    if entry is None:
        raise ended_error(task)
    wish = Wish(cause, grace_seconds, reason)
    while True:
        if entry.task.state is State.NONE:
            async with held_back(service, [token]) as waiting:
                if waiting:
                    change = cancel_change(entry.task, wish.order(entry.task, time.time()))
                    await service.store.commit([change, *together])
            if waiting:
                await settle_cancelled(service, waiting)
                return False
        async with entry.lock:
            plan = await plan_stop(service, entry, wish, time.time())
            if plan is None:
                continue
            if plan.change is not None or together:
                await service.store.commit([*([plan.change] if plan.change is not None else []), *together])
            await tell(service, plan)
            return plan.already


async def terminate_with_dependents(
    service: Service, token: str, tenant: str, *, grace_seconds: float | None = None, reason: str = ""
) -> tuple[bool, int]:
    """Accept a stop of a task and of all that wait for it, in one transaction; return as `terminate`, and how many those were.

    Raises as `terminate`, and then nothing has been stopped.
    """
    service.find(token, tenant)
    wish = Wish(Cause.CANCEL, grace_seconds, reason)
    async with service.many_lock:
        found = waiting_for(service, [token])
        async with held_back(service, found) as waiting:
            now = time.time()
            together = [
                cancel_change(each.task, wish.order(each.task, now), waited_for=found[each.task.token]) for each in waiting
            ]
            already = await terminate(service, token, tenant, grace_seconds=grace_seconds, reason=reason, together=together)
    await settle_cancelled(service, waiting)
    return already, len(waiting)


async def plan_stop(service: Service, entry: Entry, wish: Wish, now: float) -> Plan | None:
    """Say what is to be done with a task that has been given its slot; None if it waits for its next attempt by now.

    The caller holds its lock. Raises `PreconditionError` TASK_ENDED.
    """
    await reconcile(service, entry)  # it may have ended already; then this stop is too late and must not claim otherwise
    task = entry.task
    if task.ended:
        raise ended_error(task)
    if task.state is State.NONE:
        return None
    order = wish.order(task, now)
    if task.stop is None and task.state is not State.STOPPING:
        # In STARTING the state waits for the process: one that was exec'ed has RUNNING before its end.
        steps = [] if task.state is State.STARTING else [Step(State.STOPPING, wish.reason or "stopped on request")]
        # The order does not say why, or is not written yet.
        unsaid = wish.cause is Cause.CANCEL and (bool(wish.reason) or not entry.launched)
        return Plan(entry, change_of(task.evolve(stop=order), steps), order, record=unsaid)
    if task.stop is None and task.end_time and wish.cause is Cause.CANCEL:
        return _cancel_finalising(entry, order)
    return _escalate(entry, order, explicit=wish.grace_seconds is not None)


async def tell(service: Service, plan: Plan) -> None:
    """Hand a stop that is stored to the task's supervisor; the caller holds its lock."""
    order, task = plan.tell, plan.entry.task
    if order is not None and task.spec.external is not None:
        observe(service, task.token, task.attempt)
        order = None
    if order is not None:
        failpoints.hit("stop.before_order")
        if plan.entry.launched:
            service.executor.order_stop(task.token, task.attempt, order.cause, order.grace_seconds, order.serial)
    if plan.record:
        await write_record(service, task)


def _cancel_finalising(entry: Entry, stop: StopOrder) -> Plan:
    """Its main process has ended by itself, the rest of its tree has not: who stops it now has stopped it, and is told so."""
    task = entry.task
    why = f"stopped on request ({stop.reason})" if stop.reason else "stopped on request"
    message = f"{why} while the rest of its processes was being ended; its main process: {task.exit_message}"
    cancelled = task.evolve(stop=stop, outcome=Outcome.CANCELLED, exit_message=message)
    return Plan(entry, change_of(cancelled, []), stop, already=True)


def _escalate(entry: Entry, asked: StopOrder, *, explicit: bool) -> Plan:
    task, stop = entry.task, entry.task.stop
    now, grace = asked.time, asked.grace_seconds
    if stop is None:  # it ended by itself, and only the rest of its tree is being cleared away
        if not explicit:
            return Plan(entry, already=True)
        order = replace(asked, reason="")
    else:
        order = stop
        if asked.cause is Cause.CANCEL and stop.cause is not Cause.CANCEL:  # interrupted, say, and now not wanted any more
            order = replace(order, cause=asked.cause)
        if explicit and now + grace < stop.time + stop.grace_seconds:
            left = max(0.0, now + grace - stop.time) if grace else 0.0
            order = replace(order, grace_seconds=left, serial=stop.serial + 1)
    if order == stop:
        return Plan(entry, already=True)
    heard = order if order.serial > (stop.serial if stop else 0) else None
    unsaid = stop is not None and order.cause is not stop.cause  # of an order that is there already, the first cause stays
    return Plan(entry, change_of(task.evolve(stop=order), []), heard, already=True, record=unsaid)
