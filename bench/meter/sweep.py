"""What does one look at many processes cost, and how does that grow with their number?"""

from __future__ import annotations

from contextlib import ExitStack

from bench.meter import measure, plot
from bench.meter.herd import Herd
from bench.meter.measure import Costs
from bench.meter.plan import Plan
from bench.meter.side import Sides
from bench.meter.sides import BACKENDS, ONESHOT, SHAPES, add_floors, add_ours, add_programs, add_psutil, floor, ours

ABOUT = """Idle: the mean of a hundred ticks at 10 Hz, so that a look has its share of all that the sampler does besides: finding
new processes, memory, the slow refresh, integrals, publishing. Ran: every process was woken before each look. psutil and the
programs read the same either way, and everything that is on the machine beside the herd; all is charged to the herd. Programs pay
their start. × is psutil oneshot ÷ it, idle."""

LEAST_TIMES = {"bpf": {9000: 60.0}, "clock": {9000: 25.0, 1000: 80.0}, "procfs": {9000: 8.0}}
MOST_FLOORS = {"bpf": 1.1}


def ask(plan: Plan) -> None:
    print(f"## What does one look at many processes cost?\n\n{ABOUT}\n")
    idle: dict[int, Costs] = {}
    ran: dict[int, Costs] = {}
    missing: dict[str, str] = {}
    for count in plan.counts:
        with ExitStack() as stack:
            herd = stack.enter_context(Herd(plan.herd, count))
            if herd.count < count:
                print(f"This machine allows {herd.count:,} processes, not {count:,}.\n")
            looking = Sides(stack)
            add_psutil(looking, plan, herd)
            add_programs(looking)
            others = len(looking.all)
            add_floors(looking, plan, herd)
            add_ours(looking, plan, herd)
            idle[herd.count] = measure.idle(looking.all, herd.count, plan.rounds)
            ran[herd.count] = measure.woken(looking.all[others:], herd, 1.0, plan.woken_ticks, plan.rounds)
            missing = looking.missing
    measure.matrix("Idle", {f"N = {count:,}": costs for count, costs in idle.items()}, missing, base=ONESHOT)
    with_psutil = {count: {ONESHOT: idle[count][ONESHOT], **costs} for count, costs in ran.items()}
    measure.matrix("All ran", {f"N = {count:,}": costs for count, costs in with_psutil.items()}, base=ONESHOT)
    plot.lines(plan, "meter-sweep", "one look, idle", "processes", idle)
    plot.lines(plan, "meter-sweep-ran", "one look, all ran", "processes", with_psutil)
    judge(plan, idle)


def judge(plan: Plan, idle: dict[int, Costs]) -> None:
    """Compare with the targets; where fewer processes are allowed than they are about, with the most there were."""
    for backend, title in BACKENDS.items():
        for wanted, times in LEAST_TIMES[backend].items():
            count = min(wanted, max(idle))
            for shape, words in SHAPES.items():
                found = measure.ratio(idle[count], ONESHOT, ours(backend, shape))
                measured = "–" if found is None else f"{found:.0f}× at {count:,}"
                met = None if found is None else found >= times
                plan.judge(f"{title} ≥ {times:.0f}× psutil at {wanted:,} ({words})", measured, met=met)
        if backend in MOST_FLOORS:
            found = measure.ratio(idle[max(idle)], ours(backend, "tree"), floor(backend))
            measured = "–" if found is None else f"{found:.2f}× at {max(idle):,}"
            met = None if found is None else found <= MOST_FLOORS[backend]
            plan.judge(f"{title} ≤ {MOST_FLOORS[backend]}× its floor (one tree)", measured, met=met)
