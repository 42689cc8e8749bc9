"""Tasks that are started only to be measured: all carry one tag, are never more than there is room for, and are deleted again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskmeter.errors import PreconditionError

if TYPE_CHECKING:
    from taskmeter.client.aio import Client
    from taskmeter.client.base import Started
    from taskmeter.client.queues import QueueStatus
    from taskmeter.client.status import ServerInfo, TaskStatus

PROJECT = "taskmeter-bench"
TAG = "taskmeter-bench"
LIFE_SECONDS = 120.0
"""The daemon itself ends a task after so long, also when whoever started it was killed."""
DELETE_IN_FLIGHT = 16
CALL_SECONDS = 10.0
"""Deadline of a call: a daemon that hangs is told from one that is slow."""


@dataclass(frozen=True, slots=True)
class Room:
    """What else may run in a daemon right now."""

    free_count: int
    paused: bool

    @classmethod
    def of(cls, info: ServerInfo, queues: Iterable[QueueStatus]) -> Room:
        """Take the daemon's own bound and that of the default queue."""
        free = info.max_running_count - info.running_count - info.waiting_count
        paused = False
        for queue in queues:
            if queue.name == "default":
                paused = queue.paused
                if queue.max_running_count:
                    free = min(free, queue.max_running_count - queue.running_count - queue.waiting_count)
        return cls(max(free, 0), paused)

    def require(self) -> None:
        """Raise `PreconditionError` if a task would have to wait: its place in the queue would be measured, not the daemon."""
        if self.paused or not self.free_count:
            raise PreconditionError(
                "the default queue is paused" if self.paused else "no further task would start at once",
                reason="NO_ROOM",
                hint="`taskmeter queue ls` and `taskmeter ls` show why; `taskmeter bench status` needs one task only",
            )


class Workload:
    """What one run starts. The daemon finds it by its tag, whatever this process has heard of it."""

    def __init__(self, client: Client, room: Room) -> None:
        self.client = client
        self.room = room
        self.tags = {TAG: secrets.token_hex(4)}
        self.started_count = 0
        self._starting: set[asyncio.Future[Started]] = set()

    @property
    def tag(self) -> str:
        """The tag as an argument of --tag."""
        return "=".join(next(iter(self.tags.items())))

    async def start(self, *argv: str) -> Started:
        """Start a task. A call that is under way is not given up with its caller: what it starts has to be found."""
        self.room.require()
        call = asyncio.ensure_future(
            self.client.start(argv, name=f"bench {argv[0]}", project_id=PROJECT, tags=self.tags, timeout_seconds=LIFE_SECONDS)
        )
        self._starting.add(call)
        call.add_done_callback(self._starting.discard)
        started = await asyncio.shield(call)
        self.started_count += 1
        return started

    async def finish(self, token: str) -> TaskStatus:
        """Wait for a task's end, which must come."""
        status = await self.client.wait_task(token, timeout_seconds=CALL_SECONDS)
        if not status.completed:
            raise PreconditionError(f"a task has not ended within {CALL_SECONDS:g} s", reason="NO_ROOM")
        return status

    async def clear(self) -> None:
        """End and delete everything that carries the tag."""
        if self._starting:
            await asyncio.wait(self._starting)
        while True:
            await self.client.terminate_tasks(tags=self.tags, immediate=True, reason="taskmeter bench is over")
            tokens = [status.token async for status in self.client.list_tasks(tags=self.tags)]
            if not tokens:
                return
            left = iter(tokens)
            await side_by_side(DELETE_IN_FLIGHT, lambda: self._forget(left))  # noqa: B023  # ends within this turn

    async def _forget(self, tokens: Iterable[str]) -> None:
        for token in tokens:
            await self.finish(token)
            await self.client.delete_task(token)


async def side_by_side(count: int, work: Callable[[], Awaitable[None]]) -> None:
    """Do the same so many times at once; the first failure ends the others."""
    tasks = [asyncio.ensure_future(work()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
