"""How long do calls take beside a saturated fan-out, and how long do 1,000 new streams take to begin?

Two servers in turns, pinned to one core, that differ in nothing but the pacing of rpc/fanout.py; subscribers and callers are on
another one. A Terminate is of a task that waits, one at a time, until its cancellation is durable. Target: p99 ≤ 5 ms.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import grpc

from bench import harness, profile
from bench.fanout.side import KEY, Found, Side
from tests.calls import Calls

ROUNDS = 3
SECONDS = 4.0
LOADS = ((100, 10_000), (1_000, 1_000))
"""(subscribers, events per second offered): each more than a core can send one by one."""
PAUSE_SECONDS = 0.005
"""Between two calls, so that the calls are no load of their own."""
STATUSES_PER_TERMINATE = 3


class Times:
    """What was measured of one server under one load, in ms."""

    def __init__(self) -> None:
        self.terminate: list[float] = []
        self.status: list[float] = []
        self.open: list[float] = []
        self.found: list[Found] = []


@contextmanager
def saturated(side: Side, count: int, rate: int, seconds: float, found: list[Found]) -> Iterator[Thread]:
    """Have events made for so many subscribers, beside what the caller does."""
    subscribers = side.subscribers(count)
    thread = Thread(target=lambda: found.append(subscribers.run(rate, seconds, max(1, rate // 500))))
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


@contextmanager
def on_the_client_core() -> Iterator[None]:
    """Keep this process there; what it starts inside finds no other core."""
    cpus = os.sched_getaffinity(0)
    harness.pin(os.getpid(), harness.CLIENT_CPU)
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cpus)


def call(calls: Calls, times: Times, load: Thread) -> None:
    """Make calls, one at a time, for as long as there is load."""
    time.sleep(0.5)  # it has to build up
    while load.is_alive():
        token = calls.StartTask(spec={"command": {"argv": ["true"]}, "start_after_time": time.time() + 3600}).token
        for spans, method in ((times.status, calls.GetTaskStatus),) * STATUSES_PER_TERMINATE + (
            (times.terminate, calls.Terminate),
        ):
            time.sleep(PAUSE_SECONDS)
            begin = time.perf_counter()
            method(token=token)
            if load.is_alive():
                spans.append((time.perf_counter() - begin) * 1e3)


def profiled(side: Side) -> None:
    """Put the server under the first load for as long as it is looked at."""
    with saturated(side, *LOADS[0], profile.SECONDS + 1.5, []):
        pass


def main(*, quick: bool) -> None:
    sides = {
        name: Side(name, "bench.fanout.server", *switches) for name, switches in (("paced", ()), ("not paced", ("unpaced",)))
    }
    times = {(name, load): Times() for load in LOADS for name in sides}
    try:
        channels = {name: grpc.insecure_channel(f"unix:{side.directory}/bench.sock") for name, side in sides.items()}
        for number in range(1 if quick else ROUNDS):
            for load in LOADS:
                for name in sorted(sides, reverse=bool(number % 2)):
                    of, calls = times[name, load], Calls(channels[name], KEY)
                    with saturated(sides[name], *load, SECONDS, of.found) as thread, on_the_client_core():
                        call(calls, of, thread)
                    with saturated(sides[name], *load, SECONDS, []):
                        time.sleep(0.5)
                        opened = sides[name].subscribers(1_000)
                        of.open.append(opened.open_ms)
                    opened.close()
        functions = profile.of(sides["paced"].pid, lambda: profiled(sides["paced"]))
        for channel in channels.values():
            channel.close()
    finally:
        for side in sides.values():
            side.close()
    harness.heading("How long do calls take beside a saturated fan-out?")
    print(f"One call at a time, every {PAUSE_SECONDS * 1e3:.0f} ms, in turns. Percentiles in ms; n calls.\n")
    header = ["", "subscribers × events/s", "Terminate p50", "p99", "n", "GetTaskStatus p50", "p99", "n"]
    rows = []
    for (name, (count, rate)), of in times.items():
        row: list[object] = [name, f"{count} × {rate}"]
        for spans in (of.terminate, of.status):
            row += [f"{harness.percentile(spans, 50):.2f}", f"{harness.percentile(spans, 99):.2f}", len(spans)]
        rows.append(
            [
                *row,
                harness.spread((each.busy for each in of.found), ".2f"),
                harness.spread((each.p50_ms for each in of.found), ".1f"),
                harness.spread((each.p99_ms for each in of.found), ".1f"),
                harness.spread(of.open, ".0f"),
            ]
        )
    harness.table([*header, "server busy", "events p50", "p99", "1,000 more streams begin"], rows)
    print("Target: p99 of Terminate at most 5 ms, paced. Where the paced server is under the first load:\n")
    harness.table(["place", "share of its processor time"], [[place, f"{share:.0%}"] for place, share in functions])


if __name__ == "__main__":
    main(quick=harness.QUICK or "--quick" in sys.argv)
