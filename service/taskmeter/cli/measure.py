"""What `bench` measures, part by part, through the client that everybody has: its own time is in every figure."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmeter.cli.readers import Readers
from taskmeter.cli.workload import Workload, side_by_side
from taskmeter.model.state import State

CALLS_IN_FLIGHT = (1, 8, 64)
STARTS_IN_FLIGHT = 16
MOST_STARTS = 300
"""Tasks per measurement, however long it may last."""
MOST_CHANGES = 100
MOST_STOPS = 30
MOST_CALLS = 1_000_000
RUNNING_SECONDS = 10.0
"""A started task runs by then."""


@dataclass(slots=True)
class Measure:
    """One row of the report; grows while it is being measured."""

    part: str
    what: str
    concurrency: int
    """Calls in flight, or streams."""
    spans: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """How long all of it took; 0 = a rate would mean nothing."""

    @property
    def per_second(self) -> float | None:
        return len(self.spans) / self.seconds if self.seconds else None

    def percentile(self, percent: float) -> float:
        """Return the nearest-rank percentile in seconds."""
        ordered = sorted(self.spans)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "what": self.what,
            "concurrency": self.concurrency,
            "count": len(self.spans),
            "perSecond": self.per_second,
            "p50Seconds": self.percentile(50),
            "p99Seconds": self.percentile(99),
        }


class Report:
    """All that was measured so far, in order."""

    def __init__(self, on_begin: Callable[[str], None]) -> None:
        self._measures: list[Measure] = []
        self._on_begin = on_begin

    @property
    def measures(self) -> list[Measure]:
        """Those that have a figure."""
        return [measure for measure in self._measures if measure.spans]

    def add(self, part: str, what: str, concurrency: int = 1) -> Measure:
        """Begin a row."""
        measure = Measure(part, what, concurrency)
        self._measures.append(measure)
        self._on_begin(f"{part}: {what}")
        return measure

    @contextmanager
    def timed(self, part: str, what: str, concurrency: int = 1) -> Iterator[Measure]:
        """Begin a row that has a rate."""
        measure = self.add(part, what, concurrency)
        begin = time.perf_counter()
        try:
            yield measure
        finally:
            measure.seconds = time.perf_counter() - begin


class Count(NamedTuple):
    """Tasks."""

    in_all: int
    at_once: int


def most_tasks(parts: Iterable[str], stream_counts: Sequence[int], free_count: int) -> Count:
    """Return how many tasks these parts start at most."""
    of = {
        "status": Count(1, 1),
        "start": Count(2 * MOST_STARTS, min(STARTS_IN_FLIGHT, free_count)),
        "events": Count(MOST_CHANGES * len(stream_counts), 1),
        "stop": Count(min(MOST_STOPS, free_count), min(MOST_STOPS, free_count)),
    }
    wanted = [of[part] for part in parts]
    return Count(sum(count.in_all for count in wanted), max(count.at_once for count in wanted))


def most_figures(parts: Iterable[str], stream_counts: Sequence[int]) -> int:
    """Return for how many spans of time these parts measure."""
    of = {"status": len(CALLS_IN_FLIGHT), "start": 2, "events": len(stream_counts), "stop": 1}
    return sum(of[part] for part in parts)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts need."""

    load: Workload
    report: Report
    span_seconds: float
    """Each measurement lasts so long at most."""
    stream_counts: tuple[int, ...]
    same_clock: bool
    """The daemon's instants may be compared with ours."""

    async def status(self) -> None:
        """Ask for the status of a running task."""
        client = self.load.client
        token = (await self.load.start("sleep", "600")).token
        await client.wait_task(token, [State.RUNNING], timeout_seconds=RUNNING_SECONDS)
        for width in CALLS_IN_FLIGHT:
            what = "GetTaskStatus, one by one" if width == 1 else f"GetTaskStatus, {width} in flight"
            with self.report.timed("status", what, width) as measure:
                await self._repeat(measure, lambda: client.get_task_status(token), MOST_CALLS)

    async def start(self) -> None:
        """Start tasks that do nothing: one after the other, then several at once."""
        load = self.load
        answered = self.report.add("start", "StartTask of `true`, its answer")
        runs = self.report.add("start", "StartTask of `true`, the process runs")
        for _ in self._until(MOST_STARTS):
            begin = time.time()
            started = await _noted(answered, load.start("true"))
            status = await load.finish(started.token)
            if self.same_clock and status.start_time:
                runs.spans.append(status.start_time - begin)
        width = min(STARTS_IN_FLIGHT, load.room.free_count)
        with self.report.timed("start", f"`true` from start to end, {width} in flight", width) as measure:

            async def whole() -> None:
                await load.finish((await load.start("true")).token)

            await self._repeat(measure, whole, MOST_STARTS)

    async def events(self) -> None:
        """Start tasks that do nothing, and see when the streams tell of each of their states."""
        load = self.load
        for width in self.stream_counts:
            what = "state change → event, 1 stream" if width == 1 else f"state change → event, {width} streams"
            measure = self.report.add("events", what, width)
            async with Readers(load, width, measure.spans) as readers:
                for number in self._until(MOST_CHANGES):
                    await load.finish((await load.start("true")).token)
                    await readers.until_told(number)

    async def stop(self) -> None:
        """End tasks that sleep, one after the other, as gently as always."""
        load = self.load
        tokens: list[str] = []
        wanted = iter(range(min(MOST_STOPS, load.room.free_count)))

        async def start_some() -> None:
            for _ in wanted:
                token = (await load.start("sleep", "600")).token
                await load.client.wait_task(token, [State.RUNNING], timeout_seconds=RUNNING_SECONDS)
                tokens.append(token)

        answered = self.report.add("stop", "Terminate of `sleep`, its answer")
        ended = self.report.add("stop", "Terminate of `sleep`, it has ended")
        await side_by_side(STARTS_IN_FLIGHT, start_some)
        for _, token in zip(self._until(MOST_STOPS), tokens, strict=False):
            begin = time.perf_counter()
            await _noted(answered, load.client.terminate(token))
            await load.finish(token)
            ended.spans.append(time.perf_counter() - begin)

    # ------------------------------------------------------------------------------------------------------ loops

    def _until(self, most: int) -> Iterator[int]:
        """Count from 1 to `most`, as long as there is time."""
        end = time.monotonic() + self.span_seconds
        for number in range(1, most + 1):
            if time.monotonic() >= end:
                return
            yield number

    async def _repeat(self, measure: Measure, call: Callable[[], Awaitable[Any]], most: int) -> None:
        """Keep as many calls in flight as the row says."""
        turns = self._until(most)

        async def worker() -> None:
            for _ in turns:
                await _noted(measure, call())

        await side_by_side(measure.concurrency, worker)


async def _noted(measure: Measure, call: Awaitable[Any]) -> Any:
    """Await a call and note how long that took."""
    begin = time.perf_counter()
    answer = await call
    measure.spans.append(time.perf_counter() - begin)
    return answer
