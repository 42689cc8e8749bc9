"""Why a task waits, in one sentence for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from taskmeter.core.scheduler import Scheduler
from taskmeter.model.task import Task


def waiting_reason(scheduler: Scheduler, task: Task) -> str:
    """Return what a task in NONE waits for; if for several things, for the one that takes the longest to tell it by itself."""
    token = task.token
    unmet = sorted(scheduler.dependencies.unmet(token))
    if unmet:
        more = f" and {len(unmet) - 1} more" if len(unmet) > 1 else ""
        return f"waits for task {unmet[0]}{more}"
    due_time = scheduler.not_before_time(token)
    if due_time > time.time():
        return f"waits until {datetime.fromtimestamp(due_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    group = scheduler.group_of(task)
    queue = group.definition
    if queue.paused:
        return f'queue "{queue.name}" is paused'
    if not group.is_open:
        return f'queue "{queue.name}" is at its limit: {group.running_count} of {queue.max_running} run'
    if len(scheduler.running) >= scheduler.max_running:
        return f"waiting for a free slot: {len(scheduler.running)} of {scheduler.max_running} run"
    lacking = scheduler.admission.lacking(task.spec.resources)
    if lacking:
        return scheduler.admission.explain(task.spec.resources, lacking)
    ahead = scheduler.position(token)
    if ahead:
        return f"waits its turn: {ahead} {'task is' if ahead == 1 else 'tasks are'} ahead of it"
    return "waits its turn: what it needs is kept for a task that came before"
