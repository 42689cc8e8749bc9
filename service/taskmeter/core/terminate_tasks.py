"""Ask all tasks that match a filter to end: first those that wait, so that none of them starts in the place of one that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import TypeVar

from msgspec import Struct, field

from taskmeter.core.cancel_waiting import cancel_change, held_back, settle_cancelled, waiting_for
from taskmeter.core.ports import Change, Filter
from taskmeter.core.service import Entry, Service
from taskmeter.core.terminate import Plan, Wish, plan_stop, tell, terminate
from taskmeter.errors import PreconditionError
from taskmeter.model.queue import DEFAULT_QUEUE
from taskmeter.model.state import State
from taskmeter.model.task import Task

PAGE_COUNT = 1000
"""Tasks per transaction: about 50 ms of the writer, which keeps all others waiting so long."""

T = TypeVar("T")


class Stopped(Struct):
    """What came of it."""

    tokens: list[str] = field(default_factory=list)
    dependent_count: int = 0
    """Those among them that were stopped only because they waited for another."""


async def terminate_tasks(service: Service, wanted: Filter, wish: Wish, *, include_dependents: bool) -> Stopped:
    """Accept a stop of all live tasks that match; return which they are, those that waited first.

    Durable when it returns. It is stored in pages: what raises, raises between two of them, and is to be asked again. Raises what
    `Store.commit` raises.
    """
    stopped = Stopped()
    async with service.many_lock:
        meant = [token for token, entry in service.live.items() if matches(entry.task, wanted)]
        found = waiting_for(service, meant) if include_dependents else {}
        waiting = [token for token in (*meant, *found) if service.live[token].task.state is State.NONE]
        cancelled: list[Entry] = []
        try:
            async with held_back(service, waiting) as held:
                for page in _pages(held, PAGE_COUNT):
                    await _cancel(service, page, found, wish)
                    cancelled += page
        finally:
            await settle_cancelled(service, cancelled)
        stopped.tokens = [entry.task.token for entry in cancelled]
        done = set(stopped.tokens)
        stopped.dependent_count = len(done & found.keys())
        for tokens in _pages([token for token in meant if token not in done], PAGE_COUNT):
            stopped.tokens += await _stop(service, tokens, wish)
    return stopped


def matches(task: Task, wanted: Filter) -> bool:
    """Tell whether a task is one that a filter by tenant, tags, project, queue and name wants."""
    return (
        task.tenant == wanted.tenant
        and (not wanted.project_id or task.spec.project_id == wanted.project_id)
        and (not wanted.queue or (task.spec.queue or DEFAULT_QUEUE) == wanted.queue)
        and task.spec.name.startswith(wanted.name_prefix)
        and all(task.tags.get(name) == value for name, value in wanted.tags.items())
    )


async def _cancel(service: Service, page: Sequence[Entry], found: Mapping[str, str], wish: Wish) -> None:
    """End waiting tasks that are held back, in one transaction."""
    now = time.time()
    changes: list[Change] = []
    for entry in page:
        task = entry.task
        changes.append(cancel_change(task, wish.order(task, now), waited_for=found.get(task.token, "")))
    await service.store.commit(changes)


async def _stop(service: Service, tokens: Sequence[str], wish: Wish) -> list[str]:
    """Order the stop of tasks that have been given their slots; return which of them had not ended."""
    stopped, waits = [], []
    plans: list[Plan] = []
    async with AsyncExitStack() as locks:
        now = time.time()
        for token in tokens:
            entry = service.live.get(token)
            if entry is None:
                continue
            await locks.enter_async_context(entry.lock)
            try:
                plan = await plan_stop(service, entry, wish, now)
            except PreconditionError:  # it has ended just now
                continue
            if plan is None:
                waits.append(entry.task)
            else:
                plans.append(plan)
                stopped.append(token)
        changes = [plan.change for plan in plans if plan.change is not None]
        if changes:
            await service.store.commit(changes)
        await asyncio.gather(*(tell(service, plan) for plan in plans))
    for task in waits:  # its attempt has ended just now, and it would have another
        try:
            await terminate(service, task.token, task.tenant, grace_seconds=wish.grace_seconds, reason=wish.reason)
        except PreconditionError:
            continue
        stopped.append(task.token)
    return stopped


def _pages(items: Sequence[T], count: int) -> Iterator[list[T]]:
    every = iter(items)
    while page := list(islice(every, count)):
        yield page
