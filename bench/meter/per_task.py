"""What does it cost to look at one task of several processes, among many such tasks?"""

from __future__ import annotations

from contextlib import ExitStack

from bench import harness
from bench.meter import measure
from bench.meter.herd import Herd
from bench.meter.plan import Plan
from bench.meter.side import Sides, Worker
from bench.meter.sides import BACKENDS, add_ours, ours, worker_command

TASKS = 200
PROCESSES_EACH = 5
ASKED_PER_ROUND = 10
"""Tasks that psutil is asked for per round: it lists the whole system for each, so all cost the same, and seconds together."""
LEAST_TIMES = 1000.0
IDIOM = "psutil children(recursive=True)"


def ask(plan: Plan) -> None:
    tasks = TASKS if plan.judged else 10
    print(f"## What does one task of {PROCESSES_EACH} processes cost, among {tasks}?\n")
    with ExitStack() as stack:
        herd = stack.enter_context(Herd(plan.herd, tasks, children=PROCESSES_EACH - 1))
        tasks = len(herd.pids)
        looking = Sides(stack)
        asked = herd.pids[:: max(tasks // ASKED_PER_ROUND, 1)]
        looking.add(IDIOM, lambda name: Worker(name, worker_command("psutil-children", plan), herd, 1, pids=asked))
        add_ours(looking, plan, herd, "slots")
        costs = measure.idle(looking.all, 1, plan.rounds)  # µs per look
    each = {name: [us / (len(asked) if name == IDIOM else tasks) for us in found] for name, found in costs.items()}
    rows = [(name, measure.short(found), f"{measure.ratio(each, IDIOM, name):.4g}×") for name, found in each.items()]
    harness.table(["", "CPU µs per task, median (range)", "psutil ÷ it"], rows)
    for name, why in looking.missing.items():
        print(f"{name}: {why}.\n")
    for backend, title in BACKENDS.items():
        times = measure.ratio(each, IDIOM, ours(backend, "slots"))
        measured = "–" if times is None else f"{times:,.0f}×"
        met = None if times is None else times >= LEAST_TIMES
        plan.judge(f"{title} ≥ {LEAST_TIMES:,.0f}× psutil's per-task idiom at {tasks} tasks", measured, met=met)
