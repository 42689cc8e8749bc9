"""Keep the definitions of queues in a file of their own, too: no task's directory has them when the store is built anew."""

from __future__ import annotations

import asyncio

from taskmeter.core.service import Service
from taskmeter.core.side_file import SideFile, match, read_back
from taskmeter.model.queue import Queue


async def keep_queues(service: Service, file: SideFile[Queue], changed: Queue) -> None:
    """Make a queue's definition durable before the store has it. Raises what `SideFile.save` raises."""
    queues = {queue.key: queue for queue in service.store.load_queues()} | {changed.key: changed}
    await asyncio.to_thread(file.save, list(queues.values()))


async def drop_queue(service: Service, file: SideFile[Queue], gone: Queue) -> None:
    """Take a queue out of the file before the store forgets it. Raises what `SideFile.save` raises."""
    queues = [queue for queue in service.store.load_queues() if queue.key != gone.key]
    await asyncio.to_thread(file.save, queues)


async def restore_queues(service: Service, file: SideFile[Queue]) -> int:
    """Put what the file has into a store that is built anew; returns how many there are."""
    lost = "the queues have to be put again: what waits in them is not bounded or paused until then"
    queues = read_back(file, lost)
    for queue in queues:
        await service.store.put_queue(queue)
    return len(queues)


def match_queues(service: Service, file: SideFile[Queue]) -> None:
    """At a start: bring the file to what the store has."""
    match(file, service.store.load_queues(), lambda queue: queue.key)
