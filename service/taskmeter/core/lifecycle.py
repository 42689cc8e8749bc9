"""Move a task along the state table: new value and events in one commit, or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from taskmeter.core.ports import Change
from taskmeter.core.service import Service
from taskmeter.model import state as states
from taskmeter.model.event import Event, StateChanged
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task


class Step(Struct, frozen=True, gc=False):
    """One move: where to, why, and which fields of the task change with it."""

    after: State
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    then: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the next attempt, of the step that ends an attempt and begins another: they change after its event."""


def change_of(task: Task, steps: list[Step], *, spec: bytes | None = None) -> Change:
    """Chain `steps` into one change; with `spec`, the encoded spec, the task is new and is accepted first.

    Only the last event carries the task's status. Raises `IllegalTransitionError` for a step that the table does not have.
    """
    now = time.time()
    found = task.attempt, task.state
    ended: Task | None = None
    moves: list[tuple[float, int, State, State, Outcome, str]] = []
    if spec is not None:
        moves.append((task.create_time, task.attempt, State.NONE, State.NONE, Outcome.UNSPECIFIED, "accepted"))
    for step in steps:
        before = task.state
        states.check(before, step.after)
        task = task.evolve(state=step.after, **step.fields)
        ends_attempt = task.ended or (before is State.STOPPING and step.after is State.NONE)
        moves.append((now, task.attempt, before, step.after, task.outcome if ends_attempt else Outcome.UNSPECIFIED, step.reason))
        if step.then:
            ended, task = task, task.evolve(**step.then)
    events = []
    for index, (at, attempt, before, after, outcome, reason) in enumerate(moves, 1):
        payload = StateChanged(before, after, outcome, reason, task if index == len(moves) else None)
        events.append(Event(task.token, at, attempt, task.tags, payload))
    attempt_row = task.ended or any(step.after is State.STARTING for step in steps)
    return Change(task, tuple(events), spec=spec, attempt=attempt_row, ended=ended, before=found)


async def advance(service: Service, task: Task, steps: list[Step], **fields: Any) -> Task:
    """Commit `fields` (silently) and then `steps`; return the committed task. The caller holds the entry's lock."""
    if fields:
        task = task.evolve(**fields)
    [(committed, _)] = await service.store.commit([change_of(task, steps)])
    return committed
