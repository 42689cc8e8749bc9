"""Rounds in which all sides look in turns, so that whatever else the machine does meets them alike."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench import harness
from bench.meter.herd import Herd
from bench.meter.side import Side

Costs = dict[str, list[float]]
"""Of each side, by name: CPU µs per process and look, one number per round."""


def _turns(sides: Sequence[Side], rounds: int) -> Iterable[tuple[int, Side]]:
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            yield number, side


def idle(sides: Sequence[Side], count: int, rounds: int) -> Costs:
    """Cost of looking at a herd that sleeps; the first round fills caches and is left out."""
    costs: Costs = {side.name: [] for side in sides}
    for number, side in _turns(sides, rounds):
        if side.passes > 1:
            side.cpu_ns(1)  # what happened while the others had their turns is no part of it
        spent = side.cpu_ns(side.passes) / side.passes
        if number:
            costs[side.name].append(spent / count / 1e3)
    return costs


def woken(sides: Sequence[Side], herd: Herd, share: float, ticks: int, rounds: int) -> Costs:
    """Cost of looking when a share of the herd has run since the look before."""
    costs: Costs = {side.name: [] for side in sides}
    for number, side in _turns(sides, rounds):
        spent = 0
        for tick in range(ticks + 1):
            herd.wake(round(share * len(herd.pids)))
            cost = side.cpu_ns(1)
            spent += cost if tick else 0
        if number:
            costs[side.name].append(spent / ticks / herd.count / 1e3)
    return costs


def ratio(costs: Costs, base: str, name: str) -> float | None:
    """How many times as much the base costs, by medians; None where one of them is missing."""
    if base not in costs or name not in costs:
        return None
    return statistics.median(costs[base]) / statistics.median(costs[name])


def matrix(title: str, columns: Mapping[str, Costs], missing: Mapping[str, str] = {}, *, base: str = "") -> None:
    """Print a table: a row per side, a column per case, each with the median, its range, and the ratio of the base to it."""
    names = dict.fromkeys(name for costs in columns.values() for name in costs)
    print(f"### {title}\n")
    rows = []
    for name in names:
        row = [name]
        for costs in columns.values():
            times = ratio(costs, base, name)
            shown = short(costs[name]) if name in costs else "–"
            row.append(shown if times is None else f"{shown} · {times:.3g}×")
        rows.append(row)
    harness.table(["CPU µs per process", *columns], rows)
    for name, why in missing.items():
        print(f"{name}: {why}.")
    if missing:
        print()


def short(values: Sequence[float]) -> str:
    """A median with its range, short enough for a cell."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"
