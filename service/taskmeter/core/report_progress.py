"""Take in what is reported about a task from outside: whole or not at all, and in order.

First the events are made durable, in one commit; then the counters are put into a block of the daemon's own beside the task's,
which the meter adds to it. Who dies in between has acknowledged nothing: the events of that report are there, its counters not.
"""

from __future__ import annotations

import asyncio
import time

from taskmeter.core.ports import Change
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import observe, reconcile
from taskmeter.core.terminate import ended_error
from taskmeter.errors import InvalidArgumentError, PreconditionError
from taskmeter.model.event import Event
from taskmeter.model.report import Report
from taskmeter.model.state import State
from taskmeter.model.task import Task


async def begin_reports(service: Service, token: str, tenant: str, attempt: int | None = None) -> int:
    """Return which attempt is reported about: the current one, once the task has its turn; with `attempt` that one and no other.

    Raises `NotFoundError`, `PreconditionError` TASK_ENDED.
    """
    task = service.find(token, tenant)
    while True:
        if task.ended or (attempt is not None and task.attempt > attempt):
            raise _over(task, attempt)
        if task.state is not State.NONE:
            return task.attempt
        entry = service.live.get(token)
        if entry is not None:
            await service.wait_for_change(entry, None)
        else:  # it is on disk that it waits, or waits again, and memory is about to hear of it: in another turn of the loop
            await asyncio.sleep(0)
        task = service.find(token, tenant)


async def report_progress(service: Service, token: str, tenant: str, attempt: int, report: Report) -> None:
    """Take in one report about an attempt; when it returns its events are durable, and its counters outlive the daemon.

    Raises `NotFoundError`, `PreconditionError` TASK_ENDED or, of external work that is to stop, TASK_STOPPING;
    `InvalidArgumentError` naming the field, what `Store.commit` raises, `OSError`. Then nothing of it was taken in; only when it
    is the end of external work that could not be stored, which comes last, the rest of that report stays.
    """
    task = service.find(token, tenant)
    entry = service.live.get(token)
    if entry is None:
        raise ended_error(task)
    async with entry.lock:
        task = entry.task
        if task.ended or task.attempt != attempt or task.state is State.NONE:
            raise _over(task, attempt)
        _check(task, report)
        await _take_in(service, entry, report)
        if report.exit_code is not None:
            await reconcile(service, entry, exit_code=report.exit_code)
    if report.ready:
        observe(service, token, attempt)


async def _take_in(service: Service, entry: Entry, report: Report) -> None:
    task = entry.task
    directory = service.executor.directory_of(task.token, task.attempt)
    block = service.meter.take_report(directory, report)
    if report.payloads:
        now = time.time()
        events = tuple(Event(task.token, now, task.attempt, task.tags, payload) for payload in report.payloads)
        await service.store.commit([Change(task, events)])
    service.meter.keep_report(task.token, directory, block)


def _check(task: Task, report: Report) -> None:
    if task.spec.external is None:
        if report.exit_code is not None:
            problem = "is for external work only: the end of a process is seen without being told"
            raise InvalidArgumentError(f"exit_code: {problem}", fields=[("exit_code", problem)])
        return
    if task.state is State.STOPPING and report.exit_code is None:
        reason = task.stop.reason if task.stop is not None else ""
        raise PreconditionError(
            f"the task is to stop{f' ({reason})' if reason else ''}; report its exit code once it has",
            reason="TASK_STOPPING",
            metadata={"state": "TASK_STATE_STOPPING"},
        )


def _over(task: Task, attempt: int | None) -> PreconditionError:
    if task.ended and (attempt is None or task.attempt == attempt):
        return ended_error(task)
    state, outcome = task.state.name, task.outcome.name
    return PreconditionError(
        f"attempt {attempt} of the task has ended",
        reason="TASK_ENDED",
        metadata={"state": f"TASK_STATE_{state}", "outcome": f"TASK_OUTCOME_{outcome}"},
    )
