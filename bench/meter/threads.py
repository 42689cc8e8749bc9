"""How does a look grow with the threads of each process?"""

from __future__ import annotations

from contextlib import ExitStack

from bench.meter import measure, plot
from bench.meter.herd import Herd
from bench.meter.measure import Costs
from bench.meter.plan import Plan
from bench.meter.side import Sides
from bench.meter.sides import ONESHOT, add_floors, add_ours, add_psutil

THREADS = (1, 4, 16)
COUNT = 1000


def ask(plan: Plan) -> None:
    count = min(COUNT, plan.counts[-1])
    print(f"## How does it grow with threads per process? N = {count:,}, idle\n")
    found: dict[int, Costs] = {}
    missing: dict[str, str] = {}
    for threads in THREADS:
        with ExitStack() as stack:
            herd = stack.enter_context(Herd(plan.herd, count, threads=threads))
            looking = Sides(stack)
            add_psutil(looking, plan, herd)
            add_floors(looking, plan, herd)
            add_ours(looking, plan, herd, "tree")
            found[threads] = measure.idle(looking.all, herd.count, plan.rounds)
            missing = looking.missing
    measure.matrix("Threads per process", {str(threads): costs for threads, costs in found.items()}, missing, base=ONESHOT)
    plot.lines(plan, "meter-threads", "threads per process, idle", "threads", found)
