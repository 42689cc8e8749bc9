"""What a starting daemon does with the tasks of the one before: nothing is assumed, every attempt is asked.

The read order inside `Executor.facts` is claim → lock → exit. Anything that runs is adopted, anything that ended is settled, an
attempt that nobody claimed is launched (a second supervisor would lose the claim and exit), and the rest is LOST.
"""

from __future__ import annotations

import logging
from functools import partial

from taskmeter.core.dependents import fail_all_doomed, settle_dependents, unmet
from taskmeter.core.launch import launch, pump
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import observe
from taskmeter.model.state import State

log = logging.getLogger(__name__)


async def recover(service: Service) -> None:
    """Take over all live tasks, then let the waiting ones start."""
    service.pump = partial(pump, service)
    service.on_ended = partial(settle_dependents, service)
    service.scheduler.unmet_of = partial(unmet, service)
    for queue in service.store.load_queues():
        service.scheduler.put_queue(queue)
    service.executor.set_listener(partial(observe, service))
    counts = {"waiting": 0, "running": 0, "unclaimed": 0, "ended": 0}
    live = service.store.load_live()
    service.live.update((task.token, Entry(task)) for task in live)  # before any is asked what it waits for
    for task in live:
        entry = service.live[task.token]
        if task.state is State.NONE:
            service.scheduler.enqueue(task)
            counts["waiting"] += 1
            continue
        service.scheduler.take_slot(task)
        facts = service.executor.facts(task.token, task.attempt)
        if not facts.claimed and task.boot_id == service.boot_id:
            counts["unclaimed"] += 1
            service.spawn(launch(service, entry))
            continue
        entry.launched = True
        counts["running" if facts.alive else "ended"] += 1
        if facts.alive:
            service.executor.adopt(task.token, task.attempt)
            if facts.started is not None and facts.gone is None:
                service.open_meter(entry)
            if task.stop is not None:  # the order may not have reached its page before the daemon died
                service.executor.order_stop(task.token, task.attempt, task.stop.cause, task.stop.grace_seconds, task.stop.serial)
        observe(service, task.token, task.attempt)
    if any(counts.values()):
        log.info("recovered %s", ", ".join(f"{count} {what}" for what, count in counts.items()))
    fail_all_doomed(service)
    pump(service)
