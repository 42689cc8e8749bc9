"""End tasks that give no sign of work for longer than their spec allows: the meter says for how long, the stop is as ever."""

from __future__ import annotations

from taskmeter.core.service import Entry, Service
from taskmeter.core.terminate import terminate
from taskmeter.errors import TaskmeterError
from taskmeter.model.state import State
from taskmeter.model.task import Cause

LOOKS_PER_TTL = 8
MAX_INTERVAL_SECONDS = 5.0
MIN_INTERVAL_SECONDS = 0.25


def watch_idle(service: Service, entry: Entry) -> None:
    """Look at a task that runs now and then; harmless when that is done already, or when it may idle as long as it likes."""
    ttl = entry.task.spec.idle_ttl_seconds
    if ttl and not entry.idle_watched:
        entry.idle_watched = True
        _look(service, entry)  # at once: what is on record then, no restart forgives


def _again(service: Service, entry: Entry) -> None:
    interval = min(MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, entry.task.spec.idle_ttl_seconds / LOOKS_PER_TTL))
    service.call_later(interval, _look, service, entry)


def _look(service: Service, entry: Entry) -> None:
    task = entry.task
    if task.state not in (State.INITIALIZING, State.RUNNING):
        entry.idle_watched = False
        return
    directory = service.executor.directory_of(task.token, task.attempt)
    if service.meter.idle_seconds(task.token, directory, entry.reported_seq) >= task.spec.idle_ttl_seconds:
        service.spawn(_expire(service, entry))
    else:
        _again(service, entry)


async def _expire(service: Service, entry: Entry) -> None:
    task = entry.task
    try:
        await terminate(service, task.token, task.tenant, cause=Cause.IDLE)
    except TaskmeterError:  # it has ended meanwhile; or the store refuses just now, then the next look comes to the same
        _again(service, entry)
    else:
        entry.idle_watched = False
