"""Work that runs elsewhere: it has a slot, a deadline and an end like any other task, but no process here.

It begins as soon as it has its turn. It ends when it reports its exit code, or when the grace period of a stop is over without
that: nobody here can kill it. Everything is decided anew from the stored task at each look, so a restart changes nothing.
"""

from __future__ import annotations

import time
from typing import Any

from taskmeter.core.lifecycle import Step
from taskmeter.core.outcome import NO_EXIT_CODE, OUTCOME_OF_CAUSE, decide, why_stopped
from taskmeter.core.ports import Ended, Gone
from taskmeter.core.service import Entry, Service
from taskmeter.model.state import FINAL_STATE, State
from taskmeter.model.task import Cause, StopOrder, Task

SAID_SO = "it reported its end"
NOT_WAITED_FOR = "it is not waited for any longer"
LONGEST_LOOK_SECONDS = 60.0
"""The wall clock may be set: deadlines are compared anew so often."""


def external_steps(service: Service, entry: Entry, exit_code: int | None) -> list[Step]:
    """Return the moves that are due; `exit_code`: what it has just reported."""
    task, now = entry.task, time.time()
    steps: list[Step] = []
    state, stop = task.state, task.stop
    if state is State.STARTING:
        steps.append(Step(State.INITIALIZING, "it may begin", {"start_time": now}))
        task = task.evolve(start_time=now)
        state = State.INITIALIZING
    if state is State.INITIALIZING and (reason := _why_it_runs(service, task, exit_code)):
        steps.append(Step(State.RUNNING, reason))
        state = State.RUNNING
    if stop is None and exit_code is None and _is_late(task, now):
        stop = StopOrder(Cause.TIMEOUT, now, task.spec.grace_period_seconds)
    ended = _ended(task.evolve(stop=stop), now, exit_code)
    if state is not State.STOPPING and (ended or stop is not None):
        reason = ended.get("exit_message") or (stop.reason if stop else "") or _why(task, stop)
        steps.append(Step(State.STOPPING, reason, {**ended, "stop": stop}))
        state = State.STOPPING
    if ended:
        final = _final(service, entry, task.evolve(**ended))
        reason = SAID_SO if exit_code is not None else NOT_WAITED_FOR
        steps.append(Step(FINAL_STATE[ended["outcome"]], reason, ended | final))
    return steps


def next_look_seconds(task: Task) -> float | None:
    """Return when something becomes due for a live one, in seconds from now; None if nothing does by itself."""
    due = 0.0
    if task.stop is not None:
        due = task.stop.time + task.stop.grace_seconds
    elif task.spec.timeout_seconds:
        due = task.launch_time + task.spec.timeout_seconds
    return min(max(0.0, due - time.time()), LONGEST_LOOK_SECONDS) if due else None


def _why_it_runs(service: Service, task: Task, exit_code: int | None) -> str:
    if not task.spec.announces_ready:
        return "running"
    if service.meter.is_ready(task.token):
        return "it announced that it is ready"
    return "it ended before it announced that it is ready" if exit_code is not None else ""


def _is_late(task: Task, now: float) -> bool:
    return bool(task.spec.timeout_seconds) and now >= task.launch_time + task.spec.timeout_seconds


def _why(task: Task, stop: StopOrder | None) -> str:
    return why_stopped(task, stop.cause) if stop is not None else ""


def _ended(task: Task, now: float, exit_code: int | None) -> dict[str, Any]:
    """Return how it ended, if it has."""
    stop = task.stop
    if exit_code is not None:
        cause = stop.cause if stop is not None else Cause.NONE
        verdict = decide(task, Ended(False, exit_code, 0, False, cause, False, task.start_time, now))
        return {"outcome": verdict.outcome, "exit_code": exit_code, "exit_message": verdict.message, "end_time": now}
    if stop is None or now < stop.time + stop.grace_seconds:
        return {}
    message = f"{why_stopped(task, stop.cause)}; it runs elsewhere, and did not say how it ended"
    return {"outcome": OUTCOME_OF_CAUSE[stop.cause], "exit_code": NO_EXIT_CODE, "exit_message": message, "end_time": now}


def _final(service: Service, entry: Entry, task: Task) -> dict[str, Any]:
    service.open_meter(entry)
    directory = service.executor.directory_of(task.token, task.attempt)
    ended = Ended(False, task.exit_code, 0, False, Cause.NONE, False, task.start_time, task.end_time)
    gone = Gone(task.end_time, 0, 0, 0, 0, None, None, 0)
    return {"usage": service.meter.settle(task.token, directory, ended, gone), "gone_time": task.end_time}
