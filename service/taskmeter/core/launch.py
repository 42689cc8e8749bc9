"""Give waiting tasks their slots and start them."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from typing import Any

from taskmeter.core.lifecycle import Step, advance
from taskmeter.core.ports import Launch
from taskmeter.core.report_key import report_key
from taskmeter.core.secrets import unseal
from taskmeter.core.service import Entry, Service
from taskmeter.core.supervisor import RETRY_SECONDS, observe, settle_unstarted
from taskmeter.core.terminate import terminate
from taskmeter.errors import PreconditionError, TaskmeterError, UnavailableError
from taskmeter.model.ids import new_incarnation
from taskmeter.model.state import State
from taskmeter.model.task import Cause, Task

log = logging.getLogger(__name__)

LONGEST_TIMER_SECONDS = 60.0
"""The wall clock may be set, and the loop's stands still while the host sleeps: times are compared anew so often."""


MOST_TAGS_BYTES = 32768
"""More tags than this are not told to the work: the kernel limits its whole environment (execve(2))."""


def starting(boot_id: str, gpus: tuple[str, ...] = ()) -> Step:
    """The step into STARTING; committed before anything is spawned, so that a restart knows what may exist."""
    fields: dict[str, Any] = {"incarnation": new_incarnation(), "boot_id": boot_id, "launch_time": time.time(), "gpus": gpus}
    return Step(State.STARTING, "a slot is free", fields)


async def launch(service: Service, entry: Entry) -> None:
    """Spawn the attempt of a task in STARTING."""
    task = entry.task
    if task.spec.external is not None:
        observe(service, task.token, task.attempt)
        return
    try:
        spec = unseal(service, task)
    except TaskmeterError as error:
        log.error("%s; it is not launched", error.message)
        return
    order = Launch(task.token, task.attempt, task.incarnation, spec, _environment(service, task), task.target)
    try:
        await service.executor.launch(order)
    except UnavailableError:  # no descriptors: an accepted task waits for some, in its slot
        service.call_later(RETRY_SECONDS, _launch_again, service, entry)
        return
    except OSError as error:
        await settle_unstarted(service, entry, task.attempt, f"the supervisor could not be started: {error.strerror or error}")
        return
    async with entry.lock:
        if entry.task.attempt != task.attempt:  # it has ended meanwhile, and another one began
            return
        entry.launched = True
        stop = entry.task.stop
        if stop is not None:  # asked for while it was being spawned
            service.executor.order_stop(task.token, task.attempt, stop.cause, stop.grace_seconds, stop.serial)
    if service.draining and stop is None:  # it was accepted just before: the drain has not seen it
        with suppress(PreconditionError):
            await terminate(service, task.token, task.tenant, cause=Cause.INTERRUPT)


def _launch_again(service: Service, entry: Entry) -> None:
    if entry.task.state is State.STARTING and service.live.get(entry.task.token) is entry:
        service.spawn(launch(service, entry))


def pump(service: Service) -> None:
    """Start waiting tasks while there are free slots."""
    while not service.draining and (token := service.scheduler.next()) is not None:
        service.spawn(_start_waiting(service, token))
    _wake_when_due(service)


def _wake_when_due(service: Service) -> None:
    """Pump again when the next waiting task becomes due."""
    if service.due_timer is not None:
        service.due_timer.cancel()
        service.due_timer = None
    seconds = service.scheduler.next_due_seconds()
    if seconds is not None and not service.draining:
        service.due_timer = service.call_later(min(seconds, LONGEST_TIMER_SECONDS), pump, service)


async def _start_waiting(service: Service, token: str) -> None:
    entry = service.live.get(token)
    if entry is None:
        service.scheduler.free_slot(token)
        return
    async with entry.lock:
        if entry.task.state is not State.NONE:
            service.scheduler.free_slot(token)
            return
        if service.draining:  # since it was given its slot
            service.scheduler.free_slot(token)
            service.scheduler.enqueue(entry.task)
            return
        try:
            unseal(service, entry.task)
        except TaskmeterError as error:
            service.scheduler.free_slot(token)
            log.error("%s; it waits for a daemon that has", error.message)
            service.pump()
            return
        try:
            gpus = service.scheduler.admission.gpus_of(token)
            if entry.task.attempt or gpus:  # the first one's directory was made when the task was accepted, but without GPUs
                spec = service.codec.encode_spec(entry.task.spec)
                record = service.store.pack(entry.task.evolve(gpus=gpus), spec)
                if entry.task.attempt:
                    await service.executor.prepare(token, entry.task.attempt, record)
                else:
                    service.executor.rewrite_record(token, 0, record, durable=False)
            await advance(service, entry.task, [starting(service.boot_id, gpus)])
        except (TaskmeterError, OSError):  # disk full, store down: it waits on
            service.scheduler.free_slot(token)
            service.scheduler.enqueue(entry.task)
            service.call_later(RETRY_SECONDS, pump, service)
            return
    await launch(service, entry)


def _environment(service: Service, task: Task) -> dict[str, str]:
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(task.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if task.gpus else {}
    return {
        **service.environment,
        **devices,
        **_names(task),
        "TASKMETER_TOKEN": task.token,
        "TASKMETER_ATTEMPT": str(task.attempt),
        "TASKMETER_REPORT_KEY": report_key(service.report_key_secret, task.token, task.attempt),
    }


def _names(task: Task) -> dict[str, str]:
    """What the task is called, for `taskmeter.get_task_context()`."""
    names = {"TASKMETER_NAME": task.spec.name} if task.spec.name else {}
    tags = json.dumps(dict(task.tags), ensure_ascii=False, separators=(",", ":")) if task.tags else ""
    if tags and len(tags.encode()) <= MOST_TAGS_BYTES:
        names["TASKMETER_TAGS"] = tags
    return names
