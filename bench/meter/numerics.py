"""What do the arithmetic of a slot and the encoding of a status cost, without any kernel?"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import closing
from typing import Any

from bench import harness
from bench.meter.compile import cython_module
from bench.meter.plan import Plan
from bench.meter.worker import make_directories
from metercore.sampler import Sampler
from metercore.tariff import Tariff

SLOTS = (1, 1000)
LOOPS = 200_000
"""Slots visited in one measurement."""
MOST_NUMERICS_NS = 100.0
MOST_ENCODE_NS = 150.0


def hot_ns(plan: Plan, calls: int) -> list[float]:
    """CPU nanoseconds of `Sampler.hot` as Python calls it, on a slot of this process."""
    found = []
    with closing(Sampler(start=False)) as sampler:
        handle = sampler.open(os.getpid(), os.getpid(), make_directories(plan.work / "hot", 1)[0])
        sampler.tick()
        for _ in range(plan.rounds + 1):
            before = time.thread_time_ns()
            for _ in range(calls):
                sampler.hot(handle)
            found.append((time.thread_time_ns() - before) / calls)
    return found[1:]


def ask(plan: Plan) -> None:
    print("## What do numerics and encoding cost?\n")
    print("Numerics: two rates, ETA, CPU peak, memory integral. Every tick changes all. One slot stays in the nearest cache.\n")
    loops: Any = cython_module("loops", plan.work)
    size = 0
    found: dict[str, list[float]] = {}
    slots = {count: loops.Slots(count, Tariff("default", 1)) for count in SLOTS}
    for number in range(plan.rounds + 1):
        for count, each in slots.items():
            times = (LOOPS if plan.judged else 2000) // count
            costs = {"numerics": each.numerics_ns(times)}
            if count > 1:  # of a single one its clock would cost as much
                costs["publishing"] = each.publish_ns(times)
            costs["encoding"], size = each.encode_ns(times)
            for name, ns in costs.items() if number else ():
                found.setdefault(f"{name}, {count:,} slot{'s' * (count > 1)}", []).append(ns)
    found["Sampler.hot() from Python"] = hot_ns(plan, LOOPS // 20 if plan.judged else 100)
    harness.table(["", "CPU ns, median (range)"], [(name, harness.spread(values, ".0f")) for name, values in found.items()])
    print(f"A status has {size:.0f} bytes.\n")
    many, encoded = found[f"numerics, {SLOTS[-1]:,} slots"], found[f"encoding, {SLOTS[-1]:,} slots"]
    for target, most, values in (
        (f"numerics ≤ {MOST_NUMERICS_NS:.0f} ns per slot", MOST_NUMERICS_NS, many),
        (f"encoder ≤ {MOST_ENCODE_NS:.0f} ns per status", MOST_ENCODE_NS, encoded),
    ):
        ns = statistics.median(values)
        plan.judge(target, f"{ns:.0f} ns", met=ns <= most)
