"""Give waiting tasks their slots and start them."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.ports import Launch
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import RETRY_SECONDS, settle_unstarted
from taskmeter.errors import TaskmeterError, UnavailableError
from taskmeter.model.ids import new_incarnation
from taskmeter.model.state import State
from taskmeter.model.task import Task


def starting(boot_id: str) -> Step:
    """The step into STARTING; committed before anything is spawned, so that a restart knows what may exist."""
    fields: dict[str, Any] = {"incarnation": new_incarnation(), "boot_id": boot_id, "launch_time": time.time()}
    return Step(State.STARTING, "a slot is free", fields)


async def launch(service: Service, entry: Entry) -> None:
    """Spawn the attempt of a task in STARTING."""
    task = entry.task
    order = Launch(task.token, task.attempt, task.incarnation, task.spec, _environment(service, task), task.target)
    try:
        await service.executor.launch(order)
    except UnavailableError:  # no descriptors: an accepted task waits for some, in its slot
        service.call_later(RETRY_SECONDS, _launch_again, service, entry)
        return
    except OSError as error:
        await settle_unstarted(service, entry, f"the supervisor could not be started: {error.strerror or error}")
        return
    async with entry.lock:
        entry.launched = True
        stop = entry.task.stop
        if stop is not None:  # asked for while it was being spawned
            service.executor.order_stop(task.token, task.attempt, stop.cause, stop.grace_seconds, stop.serial)


def _launch_again(service: Service, entry: Entry) -> None:
    if entry.task.state is State.STARTING and service.live.get(entry.task.token) is entry:
        service.spawn(launch(service, entry))


def pump(service: Service) -> None:
    """Start waiting tasks while there are free slots."""
    while not service.draining and (token := service.scheduler.next()) is not None:
        service.spawn(_start_waiting(service, token))


async def _start_waiting(service: Service, token: str) -> None:
    entry = service.live.get(token)
    if entry is None:
        service.scheduler.free_slot(token)
        return
    async with entry.lock:
        if entry.task.state is not State.NONE:
            service.scheduler.free_slot(token)
            return
        try:
            await advance(service, entry.task, [starting(service.boot_id)])
        except TaskmeterError:  # disk full, store down: it waits on
            service.scheduler.free_slot(token)
            service.scheduler.enqueue(entry.task)
            service.call_later(RETRY_SECONDS, pump, service)
            return
    await launch(service, entry)


def _environment(service: Service, task: Task) -> dict[str, str]:
    key = hmac.new(service.report_key_secret, f"{task.token}.{task.attempt}".encode(), hashlib.sha256).hexdigest()
    return {
        **service.environment,
        "TASKMETER_TOKEN": task.token,
        "TASKMETER_ATTEMPT": str(task.attempt),
        "TASKMETER_REPORT_KEY": key,
    }
