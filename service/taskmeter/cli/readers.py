"""Streams that `bench` reads: how late each event of its own tasks was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from taskmeter.errors import DeadlineError, TaskmeterError
from taskmeter.model.event import EventKind

if TYPE_CHECKING:
    from taskmeter.cli.workload import Workload

LATE_SECONDS = 5.0
"""An event that takes longer is taken for lost."""


class Readers:
    """So many streams of one client, in an `async with`."""

    def __init__(self, load: Workload, count: int, spans: list[float]) -> None:
        """Note in `spans` how long after its change each event had been read."""
        self._load = load
        self._count = count
        self._spans = spans
        self._opened_count = self._ended_count = 0
        self._error: TaskmeterError | None = None
        self._wanted: Callable[[], bool] = lambda: False
        self._reached: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._read()) for _ in range(self._count)]
        try:
            await self._until(lambda: self._opened_count == self._count)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_told(self, ended_count: int) -> None:
        """Return once every stream has told of so many ends. Raises `DeadlineError`, or what a stream ended with."""
        await self._until(lambda: self._ended_count == ended_count * self._count)

    async def _until(self, wanted: Callable[[], bool]) -> None:
        self._wanted, self._reached = wanted, asyncio.get_running_loop().create_future()
        self._look()
        try:
            async with asyncio.timeout(LATE_SECONDS):
                await self._reached
        except TimeoutError:
            raise DeadlineError(f"a stream has not told within {LATE_SECONDS:g} s what it has to") from None

    def _look(self) -> None:
        if self._reached is None or self._reached.done():
            return
        if self._error is not None:
            self._reached.set_exception(self._error)
        elif self._wanted():
            self._reached.set_result(None)

    async def _read(self) -> None:
        deliveries = self._load.client.stream(tags=self._load.tags, kinds=[EventKind.STATE])
        try:
            async with aclosing(deliveries):
                await anext(deliveries)  # it says where the stream begins
                self._opened_count += 1
                self._look()
                async for delivery in deliveries:
                    now = time.time()
                    for event in delivery.events:
                        self._spans.append(now - event.time)
                        self._ended_count += bool(event.state_changed and event.state_changed.outcome)
                    self._look()
        except TaskmeterError as error:
            self._error = error
            self._look()
