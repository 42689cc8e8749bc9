"""Move a task along the state table: new value and events in one commit, or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taskmeter.core.ports import Change
from taskmeter.core.service import Service
from taskmeter.model import state as states
from taskmeter.model.event import Event, StateChanged
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task


@dataclass(frozen=True, slots=True)
class Step:
    """One move: where to, why, and which fields of the task change with it."""

    after: State
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def moved(task: Task, step: Step) -> tuple[Task, Event]:
    """Return the task after `step` and the event that says so. Raises `IllegalTransitionError` off the table."""
    states.check(task.state, step.after)
    after = replace(task, state=step.after, **step.fields)
    payload = StateChanged(task.state, step.after, after.outcome, step.reason, after)
    return after, Event(task.token, time.time(), after.attempt, after.tags, payload)


def accepted(task: Task) -> Event:
    """The event of acceptance, NONE → NONE."""
    payload = StateChanged(State.NONE, State.NONE, Outcome.UNSPECIFIED, "accepted", task)
    return Event(task.token, task.create_time, task.attempt, task.tags, payload)


def change_of(task: Task, steps: list[Step], *, before: tuple[Event, ...] = (), insert: bool = False) -> Change:
    """Chain `steps` into one change, after the events in `before`."""
    events = list(before)
    for step in steps:
        task, event = moved(task, step)
        events.append(event)
    attempt_row = task.ended or any(step.after is State.STARTING for step in steps)
    return Change(task, tuple(events), insert=insert, attempt=attempt_row)


async def advance(service: Service, task: Task, steps: list[Step], **fields: Any) -> Task:
    """Commit `fields` (silently) and then `steps`; return the committed task. The caller holds the entry's lock."""
    if fields:
        task = replace(task, **fields)
    [(committed, _)] = await service.store.commit([change_of(task, steps)])
    return committed
