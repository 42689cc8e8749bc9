"""What a starting daemon does with the tasks of the one before: nothing is assumed, every attempt is asked.

The read order inside `Executor.facts` is claim → lock → exit. Anything that runs is adopted, anything that ended is settled, an
attempt that nobody claimed is launched (a second supervisor would lose the claim and exit), and the rest is LOST.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from taskmeter.core.dependents import fail_all_doomed, settle_dependents, unmet
from taskmeter.core.idle import watch_idle
from taskmeter.core.keep_queues import match_queues
from taskmeter.core.keep_schedules import match_schedules
from taskmeter.core.launch import launch, pump
from taskmeter.core.ports import Facts
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import observe
from taskmeter.core.wait_turn import take_up, wait_turn
from taskmeter.model.state import State
from taskmeter.model.task import Task

ATTACHED_PER_TURN = 16
METERS_PER_TURN = 8
"""How many meters are opened before the loop's other work has its turn; each takes up to half a millisecond."""

log = logging.getLogger(__name__)


async def recover(service: Service) -> None:
    """Take over all live tasks, then let the waiting ones start."""
    service.pump = partial(pump, service)
    service.watch_idle = partial(watch_idle, service)
    service.on_ended = partial(settle_dependents, service)
    service.scheduler.unmet_of = partial(unmet, service)
    for queue in service.store.load_queues():
        service.scheduler.put_queue(queue)
    if service.queue_file is not None:
        match_queues(service, service.queue_file)
    if service.schedule_file is not None:
        match_schedules(service, service.schedule_file)
    service.executor.set_listener(partial(observe, service))
    counts = {"waiting": 0, "running": 0, "unclaimed": 0, "ended": 0, "external": 0}
    live = [service.with_messages(task) for task in service.store.load_live()]
    service.live.update((task.token, Entry(task)) for task in live)  # before any is asked what it waits for
    for token, seq in service.store.items.reported().items():
        service.live[token].reported_seq = seq
    for task in live:
        entry = service.live[task.token]
        if task.state is State.NONE:
            entry.task = take_up(service, task)
            wait_turn(service, entry.task)
            counts["waiting"] += 1
            continue
        service.scheduler.take_slot(task)
        if task.spec.external is not None:
            counts["external"] += 1
            observe(service, task.token, task.attempt)
            continue
        facts = service.executor.facts(task.token, task.attempt)
        if not facts.claimed and task.boot_id == service.boot_id:
            counts["unclaimed"] += 1
            service.spawn(launch(service, entry))
            continue
        entry.launched = True
        runs_on = _runs_on(task, facts)
        counts["running" if facts.alive else "ended"] += 1
        if facts.alive:
            service.executor.adopt(task.token, task.attempt, started=facts.started is not None, at_once=not runs_on)
            entry.meter_later = facts.started is not None and facts.gone is None
            if facts.started is not None and facts.ended is None:
                service.ingest.follow(task)
            if task.stop is not None:  # the order may not have reached its page before the daemon died
                service.executor.order_stop(task.token, task.attempt, task.stop.cause, task.stop.grace_seconds, task.stop.serial)
        if not runs_on:
            observe(service, task.token, task.attempt)
    if any(counts.values()):
        log.info("recovered %s", ", ".join(f"{count} {what}" for what, count in counts.items()))
    fail_all_doomed(service)
    service.ingest.resume()
    pump(service)


async def open_meters(service: Service) -> None:
    """Watch and go on sampling what was adopted: after serving has begun. What is asked for meanwhile is opened at once."""
    while service.executor.attach_some(ATTACHED_PER_TURN):  # noqa: ASYNC110  # others have their turn
        await asyncio.sleep(0)
    for index, entry in enumerate([entry for entry in service.live.values() if entry.meter_later]):
        if index % METERS_PER_TURN == 0:
            await asyncio.sleep(0)
        if entry.meter_later:
            try:
                service.open_meter(entry)
            except OSError as error:  # no descriptors: the executor's sweep has it looked at again
                log.warning("task %s is not metered yet: %s", entry.task.token, error)


def _runs_on(task: Task, facts: Facts) -> bool:
    """Tell whether facts and state agree, so that nothing is to be done before the facts grow."""
    return (
        facts.alive
        and facts.started is not None
        and facts.ended is None
        and facts.gone is None
        and facts.unkillable_pids == task.unkillable_pids
        and (task.state is State.RUNNING or (task.state is State.STOPPING and not task.end_time))
        and (task.stop is None or task.state is State.STOPPING)
    )
