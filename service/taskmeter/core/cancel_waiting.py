"""End tasks that wait: taken out of the queue under their locks, so that none starts; then one commit; then what is left of them.

Who holds the locks of several tasks holds `Service.many_lock` besides, which is taken first: so no two wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from taskmeter.core.dependents import fail_dependent
from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.outcome import NO_EXIT_CODE
from taskmeter.core.ports import Change
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import finish
from taskmeter.core.wait_turn import wait_turn
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Task

SETTLED_PER_TURN = 16
"""Ended tasks whose directories are told so, about 0.1 ms each, before the loop's other work has its turn."""

_WAITING_OUTCOME = {Cause.CANCEL: Outcome.CANCELLED, Cause.INTERRUPT: Outcome.INTERRUPTED}


def cancel_change(task: Task, stop: StopOrder, *, waited_for: str = "") -> Change:
    """Return the end of a task in NONE; `waited_for`: the task that was stopped, and this one only because it waited for it."""
    if waited_for:
        message = f"stopped on request, with task {waited_for}, which it waited for"
    else:
        message = f"stopped on request, before {'its next attempt' if task.attempt else 'it'} started"
    fields: dict[str, Any] = {
        "outcome": _WAITING_OUTCOME.get(stop.cause, Outcome.CANCELLED),
        "stop": stop,
        "exit_code": NO_EXIT_CODE,
        "exit_message": message,
        "end_time": stop.time,
        "gone_time": stop.time,
    }
    return change_of(task, [Step(State.STOPPING, message, fields), Step(State.CANCELLED, message)])


@asynccontextmanager
async def held_back(service: Service, tokens: Iterable[str]) -> AsyncIterator[list[Entry]]:
    """Lock the tasks and take them out of the queue; yield those that still wait. If the body fails, they wait on.

    The caller holds `Service.many_lock`, or means one task alone.
    """
    async with AsyncExitStack() as locks:
        held: list[Entry] = []
        for token in tokens:
            entry = service.live.get(token)
            if entry is not None:
                await locks.enter_async_context(entry.lock)
                if entry.task.state is State.NONE:
                    held.append(entry)
        for entry in held:
            service.scheduler.remove(entry.task.token)
        try:
            yield held
        except BaseException:
            for entry in held:
                if not entry.task.ended:
                    _put_back(service, entry.task)
            service.pump()
            raise


def _put_back(service: Service, task: Task) -> None:
    if task.token in service.scheduler.running:  # it was given a slot just before, and is about to start
        return
    wait_turn(service, task)
    if task.spec.after:  # what it waited for may have failed while it was not in the queue
        service.spawn(fail_dependent(service, task.token))


async def settle_cancelled(service: Service, entries: Iterable[Entry]) -> None:
    """Their ends are stored: write them into their directories, too, and let others have their places."""
    for index, entry in enumerate(entries, 1):
        task = entry.task
        service.not_due.discard(task.token)
        finish(service, task, attempt=task.attempt)
        if index % SETTLED_PER_TURN == 0:
            await asyncio.sleep(0)


def waiting_for(service: Service, tokens: Iterable[str]) -> Mapping[str, str]:
    """Return all that wait for these tasks, directly or through others: each with the task for whose sake it was found."""
    found: dict[str, str] = {}
    todo = list(tokens)
    known = set(todo)
    while todo:
        token = todo.pop()
        for dependent in service.scheduler.dependencies.dependents(token):
            if dependent not in known:
                known.add(dependent)
                found[dependent] = token
                todo.append(dependent)
    return found
