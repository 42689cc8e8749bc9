"""Keep the outputs of running tasks within their bound: the head goes, offsets stay, and readers are told.

First the new start is made durable, then the hole is punched. What a daemon that is killed in between did not punch goes with the
next step: a hole always begins at 0.
"""

from __future__ import annotations

import errno
import logging

from taskmeter.core.service import Service
from taskmeter.model.state import State

STEP_BYTES = 16 * 2**20
"""An output may grow by so much over its bound before its head is cut off: few commits, large holes."""
BLOCK_BYTES = 4096
NAMES = ("stdout", "stderr")

log = logging.getLogger(__name__)


async def bound_logs(service: Service, max_bytes: int) -> None:
    """Look at the outputs of all running tasks once. `max_bytes` 0 = they may grow as they like. Raises `OSError`."""
    if not max_bytes:
        return
    for token, entry in list(service.live.items()):
        task = entry.task
        if task.state is State.NONE or task.spec.attach is not None:
            continue
        for name in NAMES:
            await _bound(service, token, task.attempt, name, max_bytes)


async def _bound(service: Service, token: str, attempt: int, name: str, max_bytes: int) -> None:
    key = (token, attempt, name)
    before = service.log_starts.get(key, 0)
    size_bytes = service.executor.log_bytes(*key)
    if size_bytes - before <= max_bytes + STEP_BYTES:
        return
    start = (size_bytes - max_bytes) // BLOCK_BYTES * BLOCK_BYTES
    await service.store.upkeep.put_log_start(*key, start)
    service.log_starts[key] = start
    try:
        await service.executor.punch_log(*key, start)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        log.warning("task %s: this file system cannot give the head of %s back", token, name)
