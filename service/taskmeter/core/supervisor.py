"""Turn facts about an attempt into state: the same function after a hint, a sweep and a restart.

Facts only grow and every step is committed before memory changes, so observing twice, late, or after kill -9 is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from taskmeter.core.external import external_steps, next_look_seconds
from taskmeter.core.keep_record import bury
from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.next_attempt import again
from taskmeter.core.outcome import NO_EXIT_CODE, OUTCOME_OF_CAUSE, decide
from taskmeter.core.ports import Ended, Facts, Gone
from taskmeter.core.service import Entry, Service
from taskmeter.core.wait_turn import wait_turn
from taskmeter.errors import TaskmeterError
from taskmeter.model.retry import Wait
from taskmeter.model.state import FINAL_STATE, Outcome, State
from taskmeter.model.task import Cause, Task

RETRY_SECONDS = 1.0
"""How soon a step that the store refused is tried again."""
READY_POLL_SECONDS = 0.1

ALL_GONE = "no process of it is left"
"""The reason of every final move …"""
_REBOOTED = "lost: the host was restarted while it ran"
LEFT_ALONE = "it runs on, unwatched"
"""… but that of a process that was attached and outlives its task."""

log = logging.getLogger(__name__)


def observe(service: Service, token: str, attempt: int) -> None:
    """Look at an attempt soon; calls for the same task while it is being looked at are merged into one more look."""
    entry = service.live.get(token)
    if entry is None or entry.task.attempt != attempt:
        return
    if entry.observing:
        entry.observe_again = True
        return
    entry.observing = True
    service.spawn(_observe(service, entry))


async def _observe(service: Service, entry: Entry) -> None:
    try:
        while True:
            entry.observe_again = False
            async with entry.lock:
                await reconcile(service, entry)
            if not _wanted_again(entry):
                break
    except TaskmeterError as error:  # disk full, store down: the facts stay on disk, look again later
        if not entry.retry_logged:
            log.warning("task %s: its new state could not be stored (%s); trying again", entry.task.token, error.reason)
        _plan_retry(service, entry)
    except Exception:
        log.exception("task %s: looking at it failed; trying again", entry.task.token)
        _plan_retry(service, entry)
    else:
        entry.retry_logged = False
    finally:
        entry.observing = False


def _wanted_again(entry: Entry) -> bool:
    return entry.observe_again and not entry.task.ended


def _plan_retry(service: Service, entry: Entry) -> None:
    """Look again soon; hints and sweeps that come meanwhile plan no further looks."""
    if entry.retry_timer is None:
        entry.retry_logged = True
        entry.retry_timer = service.call_later(RETRY_SECONDS, _retry, service, entry)


def _retry(service: Service, entry: Entry) -> None:
    entry.retry_timer = None
    observe(service, entry.task.token, entry.task.attempt)


async def reconcile(service: Service, entry: Entry, *, exit_code: int | None = None) -> None:
    """Bring the task's state up to its facts; one commit at most. The caller holds the entry's lock.

    `exit_code`: external work says that it has ended with this.
    """
    task = entry.task
    if task.state is State.NONE or task.ended:
        return
    if task.spec.external is not None:
        await _reconcile_external(service, entry, exit_code)
        return
    facts = service.executor.facts(task.token, task.attempt)
    killed = await service.executor.kill_leftovers(task.token, task.attempt) if _is_orphaned(service, task, facts) else 0
    if facts.claimed and (facts.gone is not None or not facts.alive):
        await service.ingest.finish(task.token, task.attempt)  # what it reported comes before its end
    task = entry.task  # as it is after the waits
    steps, fields = _steps(service, task, facts, launched=entry.launched, killed=killed)
    if steps or fields:
        entry_task = await advance(service, task, steps, **fields)
        if entry_task.ended or entry_task.attempt != task.attempt:
            finish(service, entry_task, attempt=task.attempt)
            return
    if facts.started and not facts.ended:
        service.open_meter(entry)
        service.ingest.follow(task)
        service.watch_idle(entry)
    if entry.task.state is State.INITIALIZING:
        service.call_later(READY_POLL_SECONDS, _poll_ready, service, entry)


async def _reconcile_external(service: Service, entry: Entry, exit_code: int | None) -> None:
    task = entry.task
    if steps := external_steps(service, entry, exit_code):
        task = await advance(service, task, steps)
    if task.ended:
        finish(service, task, attempt=task.attempt)
        return
    service.open_meter(entry)
    service.watch_idle(entry)
    left = next_look_seconds(task)
    if left is not None:
        if entry.look_timer is not None:
            entry.look_timer.cancel()
        entry.look_timer = service.call_later(left, observe, service, task.token, task.attempt)
    if task.state is State.INITIALIZING:
        service.call_later(READY_POLL_SECONDS, _poll_ready, service, entry)


def finish(service: Service, task: Task, *, attempt: int) -> None:
    """An attempt's end is stored: release what it held and let the next one start, of this task or another."""
    external = task.spec.external is not None
    if task.ended and (external or not task.launch_time):
        bury(service, task)
    if not external:
        service.executor.settle(task.token, attempt)
        service.ingest.settled(task.token, attempt)
    service.scheduler.free_slot(task.token)
    if not task.ended:
        wait_turn(service, task)
    service.pump()


def last_step(service: Service, ended: Task, reason: str, fields: dict[str, Any], gone: Gone | None = None) -> Step:
    """Return the move out of STOPPING: to the end, or to the next attempt. `ended` is the task with `fields` and its outcome."""
    following = again(service, ended, rebooted=ended.boot_id != service.boot_id, gone=gone)
    if following is None:
        return Step(FINAL_STATE[ended.outcome], reason, fields)
    wait: Wait = following["wait"]
    why = f"retry {wait.retry} in {wait.delay_seconds:g} s" if wait.retry else "interrupted, it is to run again"
    return Step(State.NONE, f"{reason}; {why}", fields, following)


def _poll_ready(service: Service, entry: Entry) -> None:
    if entry.task.state is not State.INITIALIZING:
        return
    if service.meter.is_ready(entry.task.token):
        observe(service, entry.task.token, entry.task.attempt)
    else:
        service.call_later(READY_POLL_SECONDS, _poll_ready, service, entry)


def _is_orphaned(service: Service, task: Task, facts: Facts) -> bool:
    """Whether its supervisor died before its tree was gone. One that is only attached is nobody's to kill."""
    same_boot = facts.same_boot and task.boot_id == service.boot_id
    return same_boot and facts.claimed and not facts.alive and facts.gone is None and task.spec.attach is None


def _steps(service: Service, task: Task, facts: Facts, *, launched: bool, killed: int) -> tuple[list[Step], dict[str, Any]]:
    """Return the moves the facts call for, and fields to change without a move. `killed`: processes of an orphaned tree."""
    steps: list[Step] = []
    fields: dict[str, Any] = {}
    state = task.state
    lost = not facts.alive and facts.gone is None
    ended = facts.ended

    if facts.started and state is State.STARTING:
        started = {"pid": facts.started.pid, "start_time": facts.started.start_time}
        steps.append(Step(State.INITIALIZING, "the process runs", started))
        state = State.INITIALIZING
    if state is State.INITIALIZING:
        if not task.spec.announces_ready:
            steps.append(Step(State.RUNNING, "running"))
            state = State.RUNNING
        elif service.meter.is_ready(task.token):
            steps.append(Step(State.RUNNING, "it announced that it is ready"))
            state = State.RUNNING
        elif ended or lost:
            steps.append(Step(State.RUNNING, "it ended before it announced that it is ready"))
            state = State.RUNNING

    if ended is None and lost:
        if not facts.claimed and not launched:
            return steps, fields  # not spawned yet: recovery or the launcher will do it
        ended_fields = _lost(service, task, facts, killed)
        if not ended_fields:
            return steps, fields
    elif ended is not None and not task.end_time:
        ended_fields = _ended(task, ended)
    else:
        ended_fields = {}

    if ended_fields and state is not State.STOPPING:
        steps.append(Step(State.STOPPING, ended_fields["exit_message"], ended_fields))
        state = State.STOPPING
    elif ended_fields:
        fields.update(ended_fields)
    elif task.stop is not None and facts.started and state in (State.INITIALIZING, State.RUNNING):
        steps.append(Step(State.STOPPING, task.stop.reason or "stopped on request"))
        state = State.STOPPING

    if state is State.STOPPING and (facts.gone is not None or lost):
        runs_on = task.spec.attach is not None and (lost or (ended is not None and ended.detached))
        final = _final(service, task, facts)
        reason = LEFT_ALONE if runs_on else ALL_GONE
        steps.append(last_step(service, task.evolve(**ended_fields | final), reason, final, facts.gone))
    elif facts.unkillable_pids != task.unkillable_pids:
        fields["unkillable_pids"] = facts.unkillable_pids
    return steps, fields


def _ended(task: Task, ended: Ended) -> dict[str, Any]:
    verdict = decide(task, ended)
    fields: dict[str, Any] = {
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "exit_signal": verdict.exit_signal,
        "exit_message": verdict.message,
        "end_time": ended.end_time,
    }
    return fields


def _lost(service: Service, task: Task, facts: Facts, killed: int) -> dict[str, Any]:
    """The supervisor is gone and left no exit record."""
    fields: dict[str, Any] = {"exit_code": NO_EXIT_CODE, "exit_signal": 0, "end_time": time.time()}
    same_boot = facts.same_boot and task.boot_id == service.boot_id
    if not facts.claimed:
        cause = task.stop.cause if task.stop else Cause.NONE
        if not service.executor.cancel_unclaimed(task.token, task.attempt, task.incarnation, cause):
            return {}  # a supervisor has claimed it since; there will be more to see
    if not facts.claimed and same_boot:
        stopped = task.stop is not None
        fields["outcome"] = OUTCOME_OF_CAUSE[task.stop.cause] if task.stop else Outcome.FAILED_TO_START
        fields["exit_code"] = NO_EXIT_CODE if stopped else 126
        fields["exit_message"] = "stopped on request, before it started" if stopped else "its supervisor could not be started"
        return fields
    fields["outcome"] = Outcome.LOST
    if not same_boot:  # the claim itself may have vanished in a power cut: it may have run
        fields["exit_message"] = _REBOOTED
        return fields
    if task.spec.attach is not None:
        fields["exit_message"] = "lost: its supervisor died, so nobody watches the process any more; it was left alone"
        return fields
    rest = f"; {killed} of its processes were killed" if killed else ""
    fields["exit_message"] = f"lost: its supervisor died, so nobody knows how it ended{rest}"
    return fields


def _final(service: Service, task: Task, facts: Facts) -> dict[str, Any]:
    gone = facts.gone or service.executor.last_account(task.token, task.attempt)
    directory = service.executor.directory_of(task.token, task.attempt)
    usage = service.meter.settle(task.token, directory, facts.ended, gone)
    return {"usage": usage, "gone_time": gone.time, "unkillable_pids": ()}


async def settle_unstarted(service: Service, entry: Entry, attempt: int, message: str) -> None:
    """End an attempt in STARTING whose supervisor could not be spawned at all, unless its end was seen meanwhile."""
    async with entry.lock:
        task = entry.task
        if task.attempt != attempt or task.state is not State.STARTING:
            return
        stopped = task.stop is not None
        outcome = OUTCOME_OF_CAUSE[task.stop.cause] if task.stop else Outcome.FAILED_TO_START
        now = time.time()
        fields: dict[str, Any] = {
            "outcome": outcome,
            "exit_code": NO_EXIT_CODE if stopped else 126,
            "exit_message": "stopped on request, before it started" if stopped else message,
            "end_time": now,
            "gone_time": now,
        }
        last = last_step(service, task.evolve(**fields), fields["exit_message"], {})
        steps = [Step(State.STOPPING, fields["exit_message"], fields), last]
        after: Task | None = None
        while after is None:
            try:
                after = await advance(service, task, steps)
            except TaskmeterError:
                await asyncio.sleep(RETRY_SECONDS)
    finish(service, after, attempt=task.attempt)
