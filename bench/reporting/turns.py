"""Calls in turns: each side makes so many calls, then the next does, in an order of chance, round after round."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import repeat

from bench import harness

ROUNDS = harness.full(21, quick=2)

Side = Callable[[int], float]
"""Make so many calls; nanoseconds of CPU per call, or of time where somebody else works meanwhile."""


def calls(function: Callable[..., object], *arguments: object) -> Side:
    """Calls from a loop that is as short as one in Python can be."""
    if len(arguments) == 0:

        def run(count: int) -> float:
            begin = time.thread_time_ns()
            for _ in repeat(None, count):
                function()
            return (time.thread_time_ns() - begin) / count
    elif len(arguments) == 1:
        [one] = arguments

        def run(count: int) -> float:
            begin = time.thread_time_ns()
            for _ in repeat(None, count):
                function(one)
            return (time.thread_time_ns() - begin) / count
    else:
        one, other = arguments

        def run(count: int) -> float:
            begin = time.thread_time_ns()
            for _ in repeat(None, count):
                function(one, other)
            return (time.thread_time_ns() - begin) / count

    return run


def take_turns(sides: dict[str, tuple[Side, int]], seed: int) -> dict[str, list[float]]:
    """Measure all sides; the first round warms up and is left out."""
    chance = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in sides}
    gc.disable()  # as timeit does: what one side leaves behind is not the next one's to clean up
    try:
        for number in range(ROUNDS + 1):
            for name in chance.sample(list(sides), len(sides)):
                side, count = sides[name]
                ns = side(harness.full(count, quick=min(count, 500)))
                gc.collect()
                if number:
                    found[name].append(ns)
    finally:
        gc.enable()
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def show(title: str, found: dict[str, list[float]], base: str, unit: str = "ns") -> None:
    """Print a table, and how many times the base each side costs."""
    print(f"## {title}\n")
    rows = [
        (name, harness.spread(values, ".1f"), "–" if name == base else harness.spread(ratio(values, found[base]), ".2f"))
        for name, values in found.items()
    ]
    harness.table(["", f"{unit} per call, median (range)", f"× {base}"], rows)


class Verdicts:
    """Targets beside what was measured."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def judge(self, target: str, values: Sequence[float], *, most: float | None = None, least: float = 0.0) -> None:
        """Hold the median against a target."""
        if not values:
            self._rows.append((target, "not measured", ""))
            return
        median = statistics.median(values)
        met = median >= least and (most is None or median <= most)
        self._rows.append((target, harness.spread(values), "not judged" if harness.QUICK else "met" if met else "**missed**"))

    def show(self) -> None:
        print("## Targets\n")
        harness.table(["target", "measured", ""], self._rows)
