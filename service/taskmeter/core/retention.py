"""The background pass that keeps what has ended within its bounds, in small steps between which everything else goes on."""

from __future__ import annotations

import asyncio
import logging
import time

from msgspec import Struct

from taskmeter.core.bound_logs import bound_logs
from taskmeter.core.delete_task import delete_ended
from taskmeter.core.service import Service
from taskmeter.errors import TaskmeterError
from taskmeter.model.retention import EndedTask, Retention

STEP_COUNT = 50
"""Tasks per transaction."""
PASS_COUNT = 1000
"""Tasks deleted, and tasks measured, per pass; what is left waits for the next one."""
LOGS_SECONDS = 1.0
"""Outputs may grow fast: they are looked at more often."""
PURGE_STEPS = 200
"""Transactions that remove items of deleted tasks, per pass."""
COMPACT_STEPS = 20
"""Transactions that delete events, per pass."""

log = logging.getLogger(__name__)


class _Excess(Struct):
    """How much more than the bounds there is."""

    count: int
    size_bytes: int


async def keep_retention(service: Service, policy: Retention) -> None:
    """Make passes until cancelled. One that fails (a full disk, a store that is down) is only put off."""
    failed = False
    next_pass = 0.0
    while True:
        try:
            await bound_logs(service, policy.log_max_bytes)
            if time.monotonic() >= next_pass:
                next_pass = time.monotonic() + policy.interval_seconds
                await retain(service, policy, time.time())
            failed = False
        except (TaskmeterError, OSError) as error:
            if not failed:
                log.warning("retention: %s; trying again", error)
            failed = True
        except Exception:
            log.exception("retention failed; trying again")
        await asyncio.sleep(min(LOGS_SECONDS, policy.interval_seconds))


async def retain(service: Service, policy: Retention, now: float) -> int:
    """Make one pass; returns how many tasks were deleted. `now` in Unix seconds."""
    if policy.max_bytes:
        await _measure(service)
    tokens = await _excess_tokens(service, policy, now)
    for begin in range(0, len(tokens), STEP_COUNT):
        loaded = [service.store.load(token) for token in tokens[begin : begin + STEP_COUNT]]
        busy = service.deleting | service.retrying
        tasks = [task for task in loaded if task is not None and task.ended and task.token not in busy]
        if tasks:
            await delete_ended(service, tasks)
        await asyncio.sleep(0)
    if tokens:
        log.info("retention: deleted %d ended tasks", len(tokens))
    await _compact(service, policy, now)
    for _ in range(PURGE_STEPS):
        if not await service.store.items.purge():
            break
        await asyncio.sleep(0)
    return len(tokens)


async def _measure(service: Service) -> None:
    upkeep = service.store.upkeep
    found = upkeep.unmeasured(PASS_COUNT)
    for begin in range(0, len(found), STEP_COUNT):
        part = found[begin : begin + STEP_COUNT]
        sizes = await service.executor.sizes([token for token, _ in part])
        await upkeep.put_sizes([(*each, size) for each, size in zip(part, sizes, strict=True)])


async def _excess_tokens(service: Service, policy: Retention, now: float) -> list[str]:
    """Return the tasks to delete in this pass, the ones that ended first before the others."""
    upkeep = service.store.upkeep
    excess = _Excess(
        upkeep.ended_count() - policy.max_count if policy.max_count else 0,
        upkeep.ended_bytes() - policy.max_bytes if policy.max_bytes else 0,
    )
    youngest = min((age for age in (policy.max_age_seconds, *policy.outcomes.values()) if age), default=0.0)
    tokens: list[str] = []
    after = (0.0, "")
    while page := upkeep.ended(after):
        for task in page:
            old = bool(youngest) and task.end_time < now - youngest
            if len(tokens) == PASS_COUNT or not (old or excess.count > 0 or excess.size_bytes > 0):
                return tokens
            if _is_excess(task, policy, now, excess):
                tokens.append(task.token)
                excess.count -= 1
                excess.size_bytes -= max(0, task.size_bytes)
        after = (page[-1].end_time, page[-1].token)
        await asyncio.sleep(0)
    return tokens


def _is_excess(task: EndedTask, policy: Retention, now: float, excess: _Excess) -> bool:
    age = policy.age_of(task.outcome)
    wanted_gone = bool(age and task.end_time < now - age) or excess.count > 0 or excess.size_bytes > 0
    return wanted_gone and not (task.holds_key and task.end_time > now - policy.idempotency_seconds)


async def _compact(service: Service, policy: Retention, now: float) -> None:
    before_time = now - policy.events_max_age_seconds if policy.events_max_age_seconds else 0.0
    before_seq = service.store.head_seq - policy.events_max_count + 1 if policy.events_max_count else 0
    for _ in range(COMPACT_STEPS):
        if service.store.first_seq > service.store.head_seq:
            return
        if not await service.store.upkeep.compact_events(before_time, before_seq):
            return
        await asyncio.sleep(0)
