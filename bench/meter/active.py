"""How does a look grow with the share of processes that have run since the one before?"""

from __future__ import annotations

from contextlib import ExitStack

from bench.meter import measure, plot
from bench.meter.herd import Herd
from bench.meter.plan import Plan
from bench.meter.side import Sides
from bench.meter.sides import add_floors, add_ours

SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
COUNT = 1000


def ask(plan: Plan) -> None:
    with ExitStack() as stack:
        herd = stack.enter_context(Herd(plan.herd, min(COUNT, plan.counts[-1])))
        print(f"## How does it grow with the share of active processes? N = {herd.count:,}\n")
        looking = Sides(stack)
        add_floors(looking, plan, herd)
        add_ours(looking, plan, herd)
        found = {share: measure.woken(looking.all, herd, share, plan.woken_ticks, plan.rounds) for share in SHARES}
    measure.matrix("Share that ran", {f"{share:.0%}": costs for share, costs in found.items()}, looking.missing)
    plot.lines(plan, "meter-active", "share of processes that ran", "percent", {s * 100: c for s, c in found.items()}, log=False)
