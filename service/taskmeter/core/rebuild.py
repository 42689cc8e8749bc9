"""Fill a new store from the task directories, after the old one was lost or damaged.

Only acceptance and launch are written here, and the ends of tasks that never ran. Everything after that (adopting what runs, the
ends and the bills of what has ended, queueing what nobody claimed) is what recovery does at every start, from the same records.
The new store has another identity and its events begin anew, so that no client takes one history for the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from taskmeter.core.bound_logs import NAMES as LOG_NAMES
from taskmeter.core.keep_queues import restore_queues
from taskmeter.core.keep_schedules import restore_schedules
from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.outcome import NO_EXIT_CODE
from taskmeter.core.ports import Change, Claimed, Stored
from taskmeter.core.service import Service
from taskmeter.model.ids import new_incarnation
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Task

BATCH_COUNT = 256

log = logging.getLogger(__name__)


class Rebuilt(Struct, frozen=True):
    """What was found."""

    launched_count: int = 0
    """Tasks that run or have ended, those that ended before they ran included."""
    waiting_count: int = 0
    """Tasks that nobody had begun; they wait again."""
    unreadable_count: int = 0
    """Directories without a sound record; they are left alone."""
    twin_count: int = 0
    """Tasks of an idempotency key that another task answers for; they were never acknowledged."""
    queue_count: int = 0
    """Queues that were put again."""
    schedule_count: int = 0
    """Schedules that go on."""

    @property
    def task_count(self) -> int:
        return self.launched_count + self.waiting_count

    def __str__(self) -> str:
        text = f"{self.launched_count} tasks that had been started and {self.waiting_count} that waited"
        if self.queue_count:
            text += f", {self.queue_count} queues"
        if self.schedule_count:
            text += f", {self.schedule_count} schedules"
        if self.unreadable_count:
            text += f"; {self.unreadable_count} directories could not be read and were left alone"
        if self.twin_count:
            text += f"; {self.twin_count} had never been acknowledged and were deleted"
        return text


class _Found(Struct, frozen=True):
    task: Task
    spec: bytes
    claim: Claimed | None

    @property
    def begun(self) -> bool:
        """It was acknowledged: somebody has claimed it, or it has ended, or it waits for another attempt."""
        return self.claim is not None or self.task.ended or self.task.attempt > 0


async def rebuild(service: Service) -> Rebuilt:
    """Commit every queue and schedule that is in its file, and every task that has a directory.

    Raises what a commit raises; then the next start begins it again.
    """
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
    queue_count = 0
    if service.queue_file is not None:
        queue_count = await restore_queues(service, service.queue_file)
    twins = [token for token in _twins(found.values()) if not _give_away_key(found, token)]
    for token in twins:
        del found[token]
        await service.executor.remove(token)
    ordered = sorted(found.values(), key=lambda each: (each.task.create_time, each.task.token))
    for begin in range(0, len(ordered), BATCH_COUNT):
        await service.store.commit([_change(each) for each in ordered[begin : begin + BATCH_COUNT]])
        await _keep_log_starts(service, ordered[begin : begin + BATCH_COUNT])
    schedule_count = 0
    if service.schedule_file is not None:
        schedule_count = await restore_schedules(service, service.schedule_file)
    waiting = sum(each.claim is None and not each.task.ended for each in ordered)
    return Rebuilt(len(ordered) - waiting, waiting, len(unreadable), len(twins), queue_count, schedule_count)


def _read(service: Service, stored: Stored) -> _Found | None:
    unpacked = service.store.unpack(stored.record) if stored.record else None
    if unpacked is None or unpacked[0].token != stored.token:
        return None
    task, spec = unpacked
    task = task.evolve(attempt=stored.attempt, seq=0)
    if task.ended:
        return _Found(task, spec, stored.claim)
    if stored.claim is None:
        stopped = task.stop is not None and task.stop.cause is Cause.CANCEL
        task = _stopped(task) if stopped else task.evolve(stop=None, gpus=())
    else:
        task = task.evolve(stop=_merged(task.stop, stored.order), wait=None)
    return _Found(task, spec, stored.claim)


def _stopped(task: Task) -> Task:
    """A stop was accepted in the moment of its launch, and the launch did not come about."""
    assert task.stop is not None
    fields = {"exit_code": NO_EXIT_CODE, "exit_message": "stopped on request, before it started"}
    times = {"end_time": task.stop.time, "gone_time": task.stop.time}
    return task.evolve(state=State.CANCELLED, outcome=Outcome.CANCELLED, **fields, **times)


def _merged(kept: StopOrder | None, order: StopOrder | None) -> StopOrder | None:
    """The record has the reason and the cause that counts, the order to the supervisor the grace that is left."""
    if kept is None or order is None:
        return kept or order
    return replace(kept, grace_seconds=order.grace_seconds, serial=order.serial) if order.serial >= kept.serial else kept


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
        winner = max(each, other, key=lambda one: (one.begun, one.task.create_time))
        loser = other if winner is each else each
        holders[key] = winner
        losers.append(loser.task.token)
    return losers


def _give_away_key(found: dict[str, _Found], token: str) -> bool:
    """Of two tasks that were acknowledged the older one has ended, and its key was free again: it stays, without the key."""
    each = found[token]
    if each.begun and not each.task.ended:
        found[token] = replace(each, task=each.task.evolve(idempotency_key=""))
    return each.begun


async def _keep_log_starts(service: Service, found: Iterable[_Found]) -> None:
    """Find the outputs whose heads were given up, so that nobody reads zeros for what is not there any more."""
    for each in found:
        if each.claim is None or each.task.spec.attach is not None:
            continue
        for name in LOG_NAMES:
            key = (each.task.token, each.task.attempt, name)
            start = service.executor.log_start(*key)
            if start:
                await service.store.upkeep.put_log_start(*key, start)
                service.log_starts[key] = start


def _change(found: _Found) -> Change:
    task = found.task
    if task.ended:
        accepted = task.evolve(state=State.NONE)
        message = task.exit_message
        return change_of(accepted, [Step(State.STOPPING, message), Step(task.state, message)], spec=found.spec)
    steps = []
    if found.claim is not None:
        fields = {
            "incarnation": found.claim.incarnation or new_incarnation(),
            "boot_id": found.claim.boot_id,
            "launch_time": found.claim.time,
        }
        steps.append(Step(State.STARTING, "found in its directory", fields))
    return change_of(found.task, steps, spec=found.spec)
