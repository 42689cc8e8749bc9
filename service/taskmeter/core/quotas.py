"""Whether a key's quotas leave room for one more task.

What a task costs its tenant is counted when it is asked for: tasks in memory, tasks that are being accepted at this moment, and
bytes on disk as measured a few seconds ago at most.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskmeter.core.ports import Filter
from taskmeter.errors import LimitError
from taskmeter.model.key import NO_QUOTAS, Quotas
from taskmeter.model.state import State

if TYPE_CHECKING:
    from taskmeter.core.service import Service

MEASURE_SECONDS = 10.0
PAGE_COUNT = 500
RETRY_AFTER_SECONDS = 5.0


class QuotaGate:
    """Tasks that are being accepted per tenant, and the bytes that a tenant's tasks take."""

    def __init__(self, sizes: Callable[[Sequence[str]], Awaitable[list[int]]]) -> None:
        """Take `sizes`, which tells the bytes on disk of tasks by their tokens."""
        self._sizes = sizes
        self._pending: Counter[str] = Counter()
        self._measured: dict[str, tuple[float, int]] = {}

    @asynccontextmanager
    async def one_more(self, service: Service, tenant: str, quotas: Quotas) -> AsyncIterator[None]:
        """Hold the place of one more task while it is being accepted. Raises `LimitError` QUOTA_EXCEEDED naming the quota."""
        if quotas != NO_QUOTAS:
            if quotas.disk_bytes is not None:
                _refuse("disk_bytes", quotas.disk_bytes, await self._disk_bytes(service, tenant))
            mine = [entry.task.state for entry in service.live.values() if entry.task.tenant == tenant]
            pending = self._pending[tenant]
            if quotas.running_count is not None:
                _refuse("running_count", quotas.running_count, len(mine) + pending)
            if quotas.queued_count is not None:
                waiting = mine.count(State.NONE)
                _refuse("queued_count", quotas.queued_count, waiting + pending)
        self._pending[tenant] += 1
        try:
            yield
        finally:
            self._pending[tenant] -= 1
            if not self._pending[tenant]:
                del self._pending[tenant]

    async def _disk_bytes(self, service: Service, tenant: str) -> int:
        now = time.monotonic()
        measured_time, size = self._measured.get(tenant, (-MEASURE_SECONDS, 0))
        if now - measured_time >= MEASURE_SECONDS:
            size, after = 0, None
            while True:
                page = service.store.select(Filter(tenant), after, PAGE_COUNT)
                size += sum(await self._sizes([task.token for task in page]))
                if len(page) < PAGE_COUNT:
                    break
                after = (page[-1].create_time, page[-1].token)
            self._measured[tenant] = (now, size)
        return size


def _refuse(name: str, limit: int, now: int) -> None:
    if now < limit:
        return
    what = {"running_count": "tasks that have not ended", "queued_count": "waiting tasks", "disk_bytes": "bytes on disk"}[name]
    raise LimitError(
        f"the key's quota {name} is used up: {now} {what}, and {limit} may be",
        reason="QUOTA_EXCEEDED",
        hint="try again when some have ended" if name != "disk_bytes" else "delete tasks that have ended",
        metadata={"quota": name, "limit": str(limit), "used": str(now)},
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
