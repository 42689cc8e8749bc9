"""What do many idle tasks in cgroups of their own cost the sampler's thread at 10 Hz?"""

from __future__ import annotations

import os
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path

from bench import harness
from bench.meter.herd import Herd
from bench.meter.plan import Plan
from bench.meter.worker import HZ, make_directories
from metercore.sampler import Sampler
from taskmeter.executors import cgroups

COUNT = 1000
MOST_PERCENT = 3.0


def fill(stack: ExitStack, bases: cgroups.Cgroups, number: int, pid: int) -> cgroups.Places:
    """Move a process into cgroups of its own; they are removed when it has gone."""
    paths = bases.paths(str(number), 0)
    for path in filter(None, paths):
        os.mkdir(path)
        stack.callback(os.rmdir, path)
        Path(path, "cgroup.procs").write_text(f"{pid}\n")
    return paths


def ask(plan: Plan) -> None:
    count = min(COUNT, plan.counts[-1])
    print(f"## What do {count:,} idle tasks in cgroups cost at {HZ:.0f} Hz?\n")
    bases = cgroups.discover(plan.work, f"bench{os.getpid()}", "auto")
    target = f"{count:,} idle tasks in cgroups at {HZ:.0f} Hz ≤ {MOST_PERCENT:.0f} % of a core"
    if not bases.v2:
        print("There is no writable cgroup v2 here.\n")
        plan.judge(target, "–", met=None)
        return
    with ExitStack() as stack:
        for path in filter(None, (bases.v2, bases.v1_memory)):
            stack.callback(os.rmdir, path)
        groups = stack.enter_context(ExitStack())
        herd = stack.enter_context(Herd(plan.herd, count))
        sampler = stack.enter_context(closing(Sampler(HZ)))
        for number, pid in enumerate(herd.pids):
            v2, v1, *_ = fill(groups, bases, number, pid)
            place = make_directories(plan.work / f"cgroup-{number}", 1)[0]
            sampler.open(herd.root, pid, place, cgroup_v2=v2, cgroup_v1_memory=v1)
        time.sleep(plan.young_seconds)
        percents, each_us = [], []
        for _ in range(plan.loop_windows):
            before, begin = sampler.stats(), time.monotonic_ns()
            time.sleep(plan.loop_window_seconds)
            after, end = sampler.stats(), time.monotonic_ns()
            used = after.thread_cpu_ns - before.thread_cpu_ns
            percents.append(100 * used / (end - begin))
            each_us.append(used / 1e3 / (after.sample_count - before.sample_count))
        overruns = sampler.stats().overrun_count
    harness.table(
        ["% of a core, median (range)", "CPU µs per task and tick", "ticks left out", "memory from"],
        [
            (
                harness.spread(percents),
                harness.spread(each_us),
                overruns,
                "cgroup v1" if bases.v1_memory else "cgroup v2, or the processes where it has no memory.stat",
            )
        ],
    )
    percent = statistics.median(percents)
    plan.judge(target, f"{percent:.2f} %", met=percent <= MOST_PERCENT)
