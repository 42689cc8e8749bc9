"""Keep the definitions of queues in a file of their own, too: no task's directory has them when the store is built anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from taskmeter.core.service import Service
from taskmeter.errors import TaskmeterError
from taskmeter.model.queue import Queue

log = logging.getLogger(__name__)


class QueueFile(Protocol):
    """Where the definitions lie besides the store."""

    def load(self) -> list[Queue]:
        """Read them; none if nothing was ever kept. Raises `UnavailableError` saying what is wrong with the file."""

    def save(self, queues: Sequence[Queue]) -> None:
        """Replace all of them in one step, durably. Raises `LimitError` DISK_FULL, `UnavailableError`. May block."""


async def keep_queues(service: Service, file: QueueFile, changed: Queue) -> None:
    """Make a queue's definition durable before the store has it. Raises what `QueueFile.save` raises."""
    queues = {queue.key: queue for queue in service.store.load_queues()} | {changed.key: changed}
    await asyncio.to_thread(file.save, list(queues.values()))


async def drop_queue(service: Service, file: QueueFile, gone: Queue) -> None:
    """Take a queue out of the file before the store forgets it. Raises what `QueueFile.save` raises."""
    queues = [queue for queue in service.store.load_queues() if queue.key != gone.key]
    await asyncio.to_thread(file.save, queues)


async def restore_queues(service: Service, file: QueueFile) -> int:
    """Put what the file has into a store that is built anew; returns how many there are."""
    try:
        queues = file.load()
    except TaskmeterError as error:
        log.error("%s; the queues have to be put again: what waits in them is not bounded or paused until then", error.message)
        return 0
    for queue in queues:
        await service.store.put_queue(queue)
    return len(queues)


def match_queues(service: Service, file: QueueFile) -> None:
    """At a start: bring the file to what the store has, if it was not there yet, or a commit failed after it was written."""
    queues = service.store.load_queues()
    try:
        if sorted(file.load(), key=_key) == sorted(queues, key=_key):
            return
    except TaskmeterError as error:
        log.warning("%s; it is written anew", error.message)
    try:
        file.save(queues)
    except TaskmeterError as error:
        log.warning("%s; should the database be lost, so are they", error.message)


def _key(queue: Queue) -> tuple[str, str]:
    return queue.key
