"""Item events: into the log while a daemon's reader takes them away, into AntFlow's tracker, and out of the log."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench import harness
from bench.reporting.turns import Side
from metercore.itemlog import ItemLog, ItemLogReader

DONE = 3
READER = """
import os, sys, threading
from metercore.itemlog import ItemLogReader
reader = ItemLogReader(sys.argv[1])
pause = threading.Event()
print(flush=True)
while os.getppid() == int(sys.argv[2]):
    batch = reader.read()
    if batch is not None:
        batch.frames(1, "0" * 26, 0, {})
    reader.commit()
    if batch is None or batch.count < 5000:
        pause.wait(0.02)
"""


@contextmanager
def followed(directory: Path) -> Iterator[None]:
    """Have a process read the log, as the daemon does, on the other core."""
    command = [sys.executable, "-c", READER, str(directory), str(os.getpid())]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()
    harness.pin(reader.pid, harness.SERVER_CPU)
    try:
        yield
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def log_item(log: ItemLog) -> Side:
    """Events as a pipeline has them: a name of its own each, a stage, a worker."""
    numbers = count()

    def run(calls: int) -> float:
        item = log.item
        names = [f"item-{next(numbers):08d}" for _ in range(calls)]
        begin = time.thread_time_ns()
        for name in names:
            item(name, DONE, "render", 0, "", "render-W3")
        return (time.thread_time_ns() - begin) / calls

    return run


def log_item_wall(log: ItemLog) -> Side:
    """The same by the clock on the wall, page faults, new segments and whatever else comes between."""
    numbers = count()

    def run(calls: int) -> float:
        item = log.item
        names = [f"wall-{next(numbers):08d}" for _ in range(calls)]
        begin = time.perf_counter_ns()
        for name in names:
            item(name, DONE, "render", 0, "", "render-W3")
        return (time.perf_counter_ns() - begin) / calls

    return run


def log_item_full(log: ItemLog) -> Side:
    """Everything that can be said."""

    def run(calls: int) -> float:
        item, metadata = log.item, {"attempt": "2", "error_type": "ValueError"}
        begin = time.thread_time_ns()
        for _ in range(calls):
            item("item-00000001", DONE, "render", 1, "ValueError: no such page", "render-W3", 12345, metadata)
        return (time.thread_time_ns() - begin) / calls

    return run


def log_step(log: ItemLog) -> Side:
    def run(calls: int) -> float:
        step = log.step
        begin = time.thread_time_ns()
        for _ in range(calls):
            step("item-00000001", "draw", 2, "render", 0, "", "render-W3", 0.25)
        return (time.thread_time_ns() - begin) / calls

    return run


def antflow(*, observed: bool) -> Side | None:
    """What its pipeline does for a change of status: an event is made and awaited into the tracker. In memory only."""
    try:
        from antflow.tracker import StatusTracker
        from antflow.types import StatusEvent
    except ImportError:
        return None
    numbers = count()

    async def look(event: object) -> None:
        pass

    async def emit(calls: int) -> float:
        tracker = StatusTracker(on_status_change=look if observed else None)
        names = [f"item-{next(numbers):08d}" for _ in range(calls)]
        begin = time.thread_time_ns()
        for name in names:
            await tracker._emit(  # noqa: SLF001 — the only way in, and the one that its pipeline goes
                StatusEvent(
                    item_id=name, stage="render", status="completed", worker="render-W3", metadata={}, timestamp=time.time()
                )
            )
        return (time.thread_time_ns() - begin) / calls

    return lambda calls: asyncio.run(emit(calls))


def out_of_the_log(directory: Path, events: int) -> dict[str, float]:
    """Read, frame and group what was logged; CPU nanoseconds per event of each."""
    log = ItemLog(directory)
    for number in range(events):
        log.item(f"item-{number % 5000:08d}", DONE, "render", 0, "", "render-W3")
    log.close()
    reader = ItemLogReader(directory)
    spent = {"read": 0, "frames": 0, "items": 0}
    total = 0
    while True:
        marks = [time.thread_time_ns()]
        batch = reader.read()
        if batch is None:
            break
        marks.append(time.thread_time_ns())
        batch.frames(1, "0" * 26, 0, {"project": "demo"})
        marks.append(time.thread_time_ns())
        batch.items()
        marks.append(time.thread_time_ns())
        reader.commit()
        total += batch.count
        for name, begin, end in zip(spent, marks, marks[1:], strict=False):
            spent[name] += end - begin
    reader.commit()
    assert total == events
    return {name: ns / events for name, ns in spent.items()}
