"""What the end of a task means for those that wait for it: they start, or end DEPENDENCY_FAILED, and theirs in turn."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from taskmeter.core.keep_record import bury
from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.outcome import NO_EXIT_CODE
from taskmeter.core.service import Service
from taskmeter.core.supervisor import RETRY_SECONDS
from taskmeter.errors import NotFoundError, TaskmeterError
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task


def check_after(service: Service, tokens: Collection[str], tenant: str) -> None:
    """Raise `NotFoundError` for a token in `after` that names no task of this tenant."""
    for index, token in enumerate(tokens):
        try:
            service.find(token, tenant)
        except NotFoundError:
            field = f"spec.after[{index}]"
            raise NotFoundError(f"{field}: there is no task with this token", metadata={"field": field}) from None


def unmet(service: Service, task: Task) -> Collection[str]:
    """Return the tasks of `after` that have not succeeded.

    One that is not there any more has: had it ended otherwise, this task would have ended with it before it could be deleted.
    A task that has started once waits for nobody again.
    """
    if task.attempt:
        return ()
    return [token for token in task.spec.after if _outcome(service, token, task.tenant) is not Outcome.SUCCEEDED]


def settle_dependents(service: Service, ended: Task) -> None:
    """Called for every task that has ended, once that is stored."""
    if ended.outcome is Outcome.SUCCEEDED:
        service.scheduler.succeeded(ended.token)
        return
    for token in service.scheduler.dependencies.dependents(ended.token):
        service.spawn(fail_dependent(service, token))


def fail_all_doomed(service: Service) -> None:
    """End the tasks that wait in vain: for when this daemon starts."""
    for token in service.scheduler.dependencies.waiting():
        if _failed(service, service.live[token].task) is not None:
            service.spawn(fail_dependent(service, token))


async def fail_dependent(service: Service, token: str) -> None:
    """End a waiting task if one that it waits for has ended without success; else nothing."""
    entry = service.live.get(token)
    if entry is None:
        return
    async with entry.lock:
        task = entry.task
        failed = _failed(service, task)
        if task.state is not State.NONE or failed is None:
            return
        how = failed.outcome.name.lower().replace("_", " ")
        message = f"never started: task {failed.token}, which it waited for, ended as {how}"
        now = time.time()
        fields: dict[str, Any] = {
            "outcome": Outcome.DEPENDENCY_FAILED,
            "exit_code": NO_EXIT_CODE,
            "exit_message": message,
            "end_time": now,
            "gone_time": now,
        }
        service.scheduler.remove(token)
        try:
            bury(service, await advance(service, task, [Step(State.STOPPING, message, fields), Step(State.CANCELLED, message)]))
        except TaskmeterError:  # disk full, store down: it waits on, and is ended a little later
            service.scheduler.enqueue(task)
            service.call_later(RETRY_SECONDS, _again, service, token)


def _again(service: Service, token: str) -> None:
    service.spawn(fail_dependent(service, token))


def _failed(service: Service, task: Task) -> Task | None:
    """Return a task that this one waits for and that has ended without success."""
    if task.attempt:
        return None
    for token in task.spec.after:
        if token in service.live:
            continue
        try:
            other = service.find(token, task.tenant)
        except NotFoundError:
            continue
        if other.outcome is not Outcome.SUCCEEDED:
            return other
    return None


def _outcome(service: Service, token: str, tenant: str) -> Outcome:
    if token in service.live:
        return Outcome.UNSPECIFIED
    try:
        return service.find(token, tenant).outcome
    except NotFoundError:
        return Outcome.SUCCEEDED
