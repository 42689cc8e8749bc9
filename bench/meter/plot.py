"""Draws what was measured, as SVG and PNG, where matplotlib is installed (the extra `plot`)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from bench.meter.measure import Costs
from bench.meter.plan import Plan


def lines(
    plan: Plan, name: str, title: str, unit: str, points: Mapping[float, Costs] | Mapping[int, Costs], *, log: bool = True
) -> None:
    """Draw a line per side with the range of its rounds, and say where."""
    if plan.plots is None:
        return
    try:
        import matplotlib as mpl
    except ImportError:
        print("No plot: `pip install taskmeter[plot]` brings matplotlib.\n")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    colors = plt.get_cmap("tab20")
    for number, side in enumerate(dict.fromkeys(side for costs in points.values() for side in costs)):
        here = [(at, costs[side]) for at, costs in points.items() if side in costs]
        x = [float(at) for at, _ in here]
        style = ":" if side.startswith("floor") else "-"
        axes.plot(
            x, [statistics.median(values) for _, values in here], style, marker="o", ms=3, color=colors(number % 20), label=side
        )
        axes.fill_between(x, [min(v) for _, v in here], [max(v) for _, v in here], alpha=0.15, color=colors(number % 20))
    axes.set_yscale("log")
    if log:
        axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel("CPU µs per process")
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.2)
    figure.legend(loc="outside right upper", fontsize="small")
    for suffix in ("svg", "png"):
        figure.savefig(plan.plots / f"{name}.{suffix}", dpi=150)
    plt.close(figure)
    print(f"![{title}]({name}.svg)\n")
