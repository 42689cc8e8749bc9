"""Whether a task goes on with another attempt when one has ended, and what of the task begins anew with it."""

from __future__ import annotations

import time
from typing import Any

from taskmeter.core.ports import Gone
from taskmeter.core.service import Service
from taskmeter.model.retry import Wait, begin_wait
from taskmeter.model.state import Outcome
from taskmeter.model.task import Cause, Task
from taskmeter.model.usage import Integrals

MISSED_SECONDS = 1.0
"""Who hears of an end later than this was not there when it came."""

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
    "wait",
    "said",
)
"""Fields of a Task that begin anew with each attempt."""


def clock_seconds() -> float:
    """Seconds since the host was started, those it was suspended included; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def fields_of_next_attempt(task: Task) -> dict[str, Any]:
    """Return what changes in a task whose attempt has ended and that is to have another."""
    blank = Task(token="", spec=task.spec, spec_hash=b"", create_time=0.0)
    fields = {name: getattr(blank, name) for name in OF_ONE_ATTEMPT}
    used = task.usage.integrals if task.usage else Integrals()
    return fields | {"attempt": task.attempt + 1, "queued_time": time.time(), "earlier": task.earlier + used}


def again(service: Service, ended: Task, *, rebooted: bool, gone: Gone | None = None) -> dict[str, Any] | None:
    """Return the fields of the next attempt if the task is to have one, else None.

    Args:
        ended: the task as its attempt has left it, its outcome set.
        rebooted: the host was started anew while it ran.
        gone: when it ended, if that is known: what has passed of its wait while no daemon was there is not waited again.
    """
    if ended.spec.attach is not None or ended.spec.external is not None:
        return None
    if ended.stop is not None and ended.stop.cause is Cause.CANCEL:
        return None  # nobody's stop is answered with another start
    interrupted = ended.outcome is Outcome.INTERRUPTED or (ended.outcome is Outcome.LOST and rebooted)
    if interrupted and ended.spec.requeue_on_interrupt:
        return fields_of_next_attempt(ended) | {"wait": _wait(service, ended, 0.0, retry=0)}
    policy = ended.spec.retry
    if policy is None or not policy.wants(ended.outcome, ended.exit_code, ended.retries_used):
        return None
    retry = ended.retries_used + 1
    left = max(0.0, policy.delay_before(retry) - _missed_seconds(gone, rebooted=rebooted))
    wait = _wait(service, ended, left, retry=retry)
    return fields_of_next_attempt(ended) | {"retries_used": retry, "wait": wait}


def _missed_seconds(gone: Gone | None, *, rebooted: bool) -> float:
    """How long ago an attempt ended, if nobody was there to see it; by the clock that nobody sets, while it is of this boot."""
    if gone is None or (rebooted and not gone.time) or not (rebooted or gone.clock_seconds):
        return 0.0
    missed = time.time() - gone.time if rebooted else clock_seconds() - gone.clock_seconds
    return missed if missed >= MISSED_SECONDS else 0.0


def _wait(service: Service, ended: Task, delay_seconds: float, *, retry: int) -> Wait:
    return begin_wait(
        delay_seconds,
        now=time.time(),
        clock_seconds=clock_seconds(),
        boot_id=service.boot_id,
        retry=retry,
        reason=ended.exit_message,
    )
