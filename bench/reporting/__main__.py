"""What does it cost the work to report, against what else it could do?

Targets: add(n) ≤ 1.25× and add(n, size) ≤ 1.5× an empty Cython method, ≥ 25× a multiprocessing.Value with its lock, ≥ 300× a
Redis INCR; an item event ≤ 1 µs and below AntFlow's StatusTracker; 10,000 report blocks read in ≤ 150 µs.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import harness
from bench.meter.compile import cython_module
from bench.reporting import items
from bench.reporting.turns import ROUNDS, Side, Verdicts, calls, ratio, show, take_turns
from bench.result import package, program
from metercore.itemlog import ItemLog
from metercore.report import ReportBlock
from tests.waiting import wait_until

SEED = 1
"""Of the order of turns."""
BLOCKS = harness.full(10_000, quick=100)
EVENTS = harness.full(100_000, quick=2000)
EMPTY, ADD, EMPTY_SIZE, ADD_SIZE = "empty method (n)", "add(n)", "empty method (n, size)", "add(n, size)"
VALUE, INCR = "multiprocessing.Value, with its lock", "Redis INCR, unix socket"
ITEM, WALL, TRACKER = "ItemLog.item", "ItemLog.item, by the wall", "AntFlow StatusTracker, in memory"


def value_side() -> Side:
    value = multiprocessing.Value("q", 0)

    def add() -> None:
        with value.get_lock():
            value.value += 1

    return calls(add)


@contextmanager
def redis(directory: Path) -> Iterator[Side | None]:
    """Ask a Redis of our own over a unix socket, without any library between: a write and a read per call."""
    if not shutil.which("redis-server"):
        yield None
        return
    path = directory / "redis.sock"
    command = [
        "redis-server",
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(directory),
        "--unixsocket",
        str(path),
    ]
    server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, "Redis listens")
        harness.pin(server.pid, harness.SERVER_CPU)
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))

            def run(count: int) -> float:
                begin = time.perf_counter_ns()
                for _ in range(count):
                    link.sendall(b"INCR n\r\n")
                    link.recv(64)
                return (time.perf_counter_ns() - begin) / count

            yield run
    finally:
        server.kill()
        server.wait()


def counters(directory: Path, costs: Any, seed: int, verdicts: Verdicts) -> None:
    block, nothing = ReportBlock(directory / "report"), costs.Nothing()
    assert block.shared
    with redis(directory) as incr:
        sides: dict[str, tuple[Side, int]] = {
            EMPTY: (calls(nothing.add, 1), 200_000),
            ADD: (calls(block.add, 1), 200_000),
            EMPTY_SIZE: (calls(nothing.add, 1, 4096), 200_000),
            ADD_SIZE: (calls(block.add, 1, 4096), 200_000),
            VALUE: (value_side(), 20_000),
        }
        if incr is not None:
            sides[INCR] = (incr, 1000)
        found = take_turns(sides, seed)
    show("What does counting cost?", found, ADD)
    verdicts.judge("add(n) ≤ 1.25× an empty Cython method", ratio(found[ADD], found[EMPTY]), most=1.25)
    verdicts.judge("add(n, size) ≤ 1.5× an empty Cython method", ratio(found[ADD_SIZE], found[EMPTY_SIZE]), most=1.5)
    verdicts.judge("add(n) ≥ 25× multiprocessing.Value with lock", ratio(found[VALUE], found[ADD]), least=25)
    verdicts.judge("add(n) ≥ 300× Redis INCR", ratio(found[INCR], found[ADD]) if INCR in found else [], least=300)


def events(directory: Path, seed: int, verdicts: Verdicts) -> None:
    place = directory / "items"
    log, nowhere = ItemLog(place), ItemLog()
    assert log.shared
    with items.followed(place):
        sides: dict[str, tuple[Side, int]] = {
            ITEM: (items.log_item(log), 50_000),
            WALL: (items.log_item_wall(log), 50_000),
            "ItemLog.item with error, size, metadata": (items.log_item_full(log), 50_000),
            "ItemLog.step": (items.log_step(log), 50_000),
            "ItemLog.item outside of a task": (items.log_item(nowhere), 50_000),
        }
        for name, observed in ((TRACKER, False), ("AntFlow StatusTracker, with a callback", True)):
            side = items.antflow(observed=observed)
            if side is not None:
                sides[name] = (side, 20_000)
        found = take_turns(sides, seed)
    show("What does an item event cost?", found, ITEM)
    print(f"The log is durable against the death of work and daemon, and a reader follows it. Dropped: {log.dropped_count}.\n")
    verdicts.judge("an item event ≤ 1 µs (page faults included)", [ns / 1000 for ns in found[ITEM]], most=1.0)
    verdicts.judge(
        "an item event below AntFlow's StatusTracker (× of ours)",
        ratio(found[TRACKER], found[ITEM]) if TRACKER in found else [],
        least=1.0,
    )


def reading(directory: Path, costs: Any, verdicts: Verdicts) -> None:
    harness.raise_descriptor_limit()
    (directory / "blocks").mkdir()
    descriptors = []
    for number in range(BLOCKS):
        path = directory / "blocks" / str(number)
        ReportBlock(path).add()
        descriptors.append(os.open(path, os.O_RDONLY))
    blocks = costs.Blocks(descriptors)
    ways: dict[str, Callable[[], int]] = {
        "one by one mapped": blocks.mapped_ns,
        "in one piece of memory": blocks.together_ns,
        "pread": blocks.pread_ns,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            us = way() / 1000
            if number:
                found[name].append(us)
    for descriptor in descriptors:
        os.close(descriptor)
    print(f"## What does reading {BLOCKS:,} report blocks cost?\n")
    harness.table(["", "CPU µs of all, median (range)"], [(name, harness.spread(us, ".0f")) for name, us in found.items()])
    print("The sampler reads with pread, because a task may shorten its file under a mapping.\n")
    verdicts.judge("10,000 report blocks read in ≤ 150 µs, mapped", found["one by one mapped"], most=150)


def out(directory: Path, verdicts: Verdicts) -> None:
    found: dict[str, list[float]] = {"read": [], "frames": [], "items": []}
    for number in range(harness.full(8, quick=2)):
        for name, ns in items.out_of_the_log(directory / f"out{number}", EVENTS).items():
            if number:
                found[name].append(ns)
    print("## What does an item event cost the daemon, before it is stored?\n")
    harness.table(["", "CPU ns per event, median (range)"], [(name, harness.spread(ns, ".0f")) for name, ns in found.items()])
    total = [sum(each) / 1000 for each in zip(*found.values(), strict=True)]
    verdicts.judge("100,000 item events/s: reading, framing, grouping ≤ 10 µs each", total, most=10)


def main() -> None:
    harness.heading("What does it cost the work to report?")
    print(f"AntFlow {package('antflow')} · {program('redis-server', '--version').partition(' sha')[0]}\n")
    harness.pin(os.getpid(), harness.CLIENT_CPU)
    verdicts = Verdicts()
    with harness.fresh_directory() as directory:
        costs: Any = cython_module("costs", directory, Path(__file__).resolve().parent)
        counters(directory, costs, SEED, verdicts)
        events(directory, SEED, verdicts)
        reading(directory, costs, verdicts)
        out(directory, verdicts)
    verdicts.show()


if __name__ == "__main__":
    main()
