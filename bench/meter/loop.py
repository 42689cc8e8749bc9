"""What does a loop at 20 Hz over very many processes cost, and does it keep its times?"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from bench import harness
from bench.meter.herd import Herd
from bench.meter.plan import Plan
from bench.meter.side import UnavailableError, Worker
from bench.meter.sides import BACKENDS, SHAPES, ours, worker_command
from bench.meter.worker import LOOP_HZ

MOST_PERCENT = {"bpf": 15.0, "clock": 25.0}
MOST_OVERRUNS_PERCENT = 0.1


def run(plan: Plan, herd: Herd, name: str, side: str) -> tuple[list[float], int, int]:
    """Percent of a core in each window, ticks, and overruns of the sampler's own thread."""
    with ExitStack() as stack:
        worker = Worker(name, worker_command(side, plan), herd, 1)
        stack.callback(worker.close)
        worker.ask(plan.loop_window_seconds)  # its first ticks find what happened while nobody looked
        percents, ticks, overruns = [], 0, 0
        for _ in range(plan.loop_windows):
            cpu_ns, wall_ns, ticked, left_out = worker.ask(plan.loop_window_seconds)
            percents.append(100 * cpu_ns / wall_ns)
            ticks += ticked
            overruns += left_out
    return percents, ticks, overruns


def ask(plan: Plan) -> None:
    with Herd(plan.herd, plan.counts[-1]) as herd:
        print(f"## What does a loop at {LOOP_HZ:.0f} Hz over {herd.count:,} idle processes cost?\n")
        print(f"The sampler's own thread, {plan.loop_windows} windows of {plan.loop_window_seconds} s each.\n")
        rows = []
        for backend, title in BACKENDS.items():
            for shape, words in SHAPES.items():
                name = ours(backend, shape)
                found = None
                try:
                    found = run(plan, herd, name, f"loop-{backend}-{shape}")
                except UnavailableError as error:
                    rows.append((name, f"– ({error})", "–", "–"))
                if found is not None:
                    percents, ticks, overruns = found
                    late = 100 * overruns / max(ticks + overruns, 1)
                    rows.append((name, harness.spread(percents, ".1f"), f"{ticks:,}", f"{overruns:,} ({late:.2f} %)"))
                if backend in MOST_PERCENT:
                    target = f"{title} at {LOOP_HZ:.0f} Hz over 9,000 ({words})"
                    judge(plan, target, MOST_PERCENT[backend], found)
        harness.table(["", "% of a core, median (range)", "ticks", "left out"], rows)


def judge(plan: Plan, target: str, most_percent: float, found: tuple[list[float], int, int] | None) -> None:
    """Compare with the target."""
    target += f" ≤ {most_percent:.0f} % of a core, ≤ {MOST_OVERRUNS_PERCENT} % left out"
    if found is None:
        plan.judge(target, "–", met=None)
        return
    percents, ticks, overruns = found
    percent, late = statistics.median(percents), 100 * overruns / max(ticks + overruns, 1)
    plan.judge(target, f"{percent:.1f} %, {late:.2f} %", met=percent <= most_percent and late <= MOST_OVERRUNS_PERCENT)
