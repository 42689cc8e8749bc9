"""Fill a new store from the task directories, after the old one was lost or damaged.

Only acceptance and launch are written here. Everything after that (adopting what runs, the ends and the bills of what has ended,
queueing what nobody claimed) is what recovery does at every start, from the same records. The new store has another identity and
its events begin anew, so that no client takes one history for the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.ports import Change, Claimed, Stored
from taskmeter.core.service import Service
from taskmeter.model.ids import new_incarnation
from taskmeter.model.state import State
from taskmeter.model.task import Task

BATCH_COUNT = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found."""

    launched_count: int = 0
    """Tasks that run or have ended."""
    waiting_count: int = 0
    """Tasks that nobody had begun; they wait again."""
    unreadable_count: int = 0
    """Directories without a sound record; they are left alone."""
    twin_count: int = 0
    """Tasks of an idempotency key that another task answers for; they were never acknowledged."""

    @property
    def task_count(self) -> int:
        return self.launched_count + self.waiting_count

    def __str__(self) -> str:
        text = f"{self.launched_count} tasks that had been started and {self.waiting_count} that waited"
        if self.unreadable_count:
            text += f"; {self.unreadable_count} directories could not be read and were left alone"
        if self.twin_count:
            text += f"; {self.twin_count} had never been acknowledged and were deleted"
        return text


@dataclass(frozen=True, slots=True)
class _Found:
    task: Task
    spec: bytes
    claim: Claimed | None


async def rebuild(service: Service) -> Rebuilt:
    """Commit every task that has a directory. Raises what a commit raises; then the next start begins it again."""
    found: dict[str, _Found] = {}
    unreadable: set[str] = set()
    for stored in service.executor.stored():
        if stored.token in found:
            continue
        task = _read(service, stored)
        if task is None:
            unreadable.add(stored.token)
        else:
            found[stored.token] = task
    unreadable -= found.keys()
    for token in sorted(unreadable):
        log.warning("the directory of task %s holds no sound record; it is left alone", token)
    twins = _twins(found.values())
    for token in twins:
        del found[token]
        await service.executor.remove(token)
    ordered = sorted(found.values(), key=lambda each: (each.task.create_time, each.task.token))
    for begin in range(0, len(ordered), BATCH_COUNT):
        await service.store.commit([_change(each) for each in ordered[begin : begin + BATCH_COUNT]])
    launched = sum(each.claim is not None for each in ordered)
    return Rebuilt(launched, len(ordered) - launched, len(unreadable), len(twins))


def _read(service: Service, stored: Stored) -> _Found | None:
    unpacked = service.store.unpack(stored.record) if stored.record else None
    if unpacked is None or unpacked[0].token != stored.token:
        return None
    task, spec = unpacked
    return _Found(task.evolve(attempt=stored.attempt, seq=0), spec, stored.claim)


def _twins(found: Iterable[_Found]) -> list[str]:
    """Return the tokens that lose their idempotency key to another task: that one has run, or is newer.

    Only a call that a daemon's death cut short leaves a directory without a committed task, and its caller tried again.
    """
    holders: dict[tuple[str, str], _Found] = {}
    losers: list[str] = []
    for each in found:
        if not each.task.idempotency_key:
            continue
        key = (each.task.tenant, each.task.idempotency_key)
        other = holders.get(key)
        if other is None:
            holders[key] = each
            continue
        winner = max(each, other, key=lambda one: (one.claim is not None, one.task.create_time))
        loser = other if winner is each else each
        holders[key] = winner
        losers.append(loser.task.token)
    return losers


def _change(found: _Found) -> Change:
    steps = []
    if found.claim is not None:
        fields = {
            "incarnation": found.claim.incarnation or new_incarnation(),
            "boot_id": found.claim.boot_id,
            "launch_time": found.claim.time,
        }
        steps.append(Step(State.STARTING, "found in its directory", fields))
    return change_of(found.task, steps, spec=found.spec)
