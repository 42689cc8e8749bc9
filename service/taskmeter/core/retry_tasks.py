"""Run all tasks again that match a filter, oldest first, a bounded number at once.

Each one is accepted by itself, so what was begun stays whatever happens to the call. Only what could go better later stops it:
the caller goes on from there. One call works at a time, so that no two make the same copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from taskmeter.core.ports import Filter
from taskmeter.core.retry_task import check_retry, retry_task
from taskmeter.core.service import Service
from taskmeter.errors import LimitError, TaskmeterError, UnavailableError
from taskmeter.model.ids import copy_token
from taskmeter.model.key import NO_QUOTAS, Quotas
from taskmeter.model.state import RETRYABLE, TERMINAL
from taskmeter.model.task import Task

AT_ONCE_COUNT = 16
"""Tasks that are accepted side by side: their commits share a write to the disk."""

Place = tuple[float, str]
"""(create_time, token): where a page ends."""


class Refusal(Struct, frozen=True):
    """A task that was not retried, and why."""

    token: str
    error: TaskmeterError


class Retried(Struct):
    """What came of a page."""

    tokens: list[str] = field(default_factory=list)
    """What runs again, or would: those that were found, or with `as_new` their copies."""
    refusals: list[Refusal] = field(default_factory=list)
    copied_before_count: int = 0
    stopped: Refusal | None = None
    """The first that found no room; none after it was begun with, but for those at its side."""
    after: Place | None = None
    """Where the next page begins; None = it was the last one."""


async def retry_tasks(
    service: Service,
    wanted: Filter,
    after: Place | None,
    limit: int,
    *,
    as_new: bool,
    dry_run: bool,
    quotas: Quotas = NO_QUOTAS,
) -> Retried:
    """Retry up to `limit` tasks that match and come after a place. No outcomes = those that are retryable.

    Raises `UnavailableError` DRAINING before anything is begun; what a later commit raises is in the answer.
    """
    if service.draining and not dry_run:
        raise UnavailableError("the daemon is draining and accepts no new work", reason="DRAINING")
    wanted = replace(wanted, states=TERMINAL, outcomes=wanted.outcomes or RETRYABLE)
    done = Retried()
    async with service.retry_lock:
        left = limit
        while left:
            count = min(left, AT_ONCE_COUNT)
            found = service.store.select(wanted, after, count + 1, oldest_first=True)
            page = found[:count]
            await _page(service, page, done, as_new=as_new, dry_run=dry_run, quotas=quotas)
            if done.stopped is not None:
                at = next(index for index, task in enumerate(page) if task.token == done.stopped.token)
                done.after = _place(page[at - 1]) if at else after or (0.0, "")
                return done
            if len(found) <= count:
                return done
            after = _place(page[-1])
            left -= count
            await asyncio.sleep(0)
        done.after = after
    return done


async def _page(service: Service, page: Sequence[Task], done: Retried, *, as_new: bool, dry_run: bool, quotas: Quotas) -> None:
    meant: list[Task] = []
    for task in page:
        if as_new and service.store.load(copy_token(task.token, task.attempt)) is not None:
            done.copied_before_count += 1
        else:
            meant.append(task)
    work = (_retry(service, task, as_new=as_new, dry_run=dry_run, quotas=quotas) for task in meant)
    for task, answer in zip(meant, await asyncio.gather(*work), strict=True):
        if isinstance(answer, str):
            done.tokens.append(answer)
        elif done.stopped is None:  # the next page has those after it
            refusal = Refusal(task.token, answer)
            if isinstance(answer, (LimitError, UnavailableError)):
                done.stopped = refusal
            else:
                done.refusals.append(refusal)


async def _retry(service: Service, task: Task, *, as_new: bool, dry_run: bool, quotas: Quotas) -> str | TaskmeterError:
    """Return the token that runs, or why none does."""
    try:
        if dry_run:
            check_retry(service, task, as_new=as_new)
            return task.token
        async with service.quotas.one_more(service, task.tenant, quotas):
            name = copy_token(task.token, task.attempt) if as_new else ""
            return await retry_task(service, task.token, task.tenant, as_new=as_new, new_token=name)
    except TaskmeterError as error:
        return error


def _place(task: Task) -> Place:
    return task.create_time, task.token
