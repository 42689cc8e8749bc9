"""Runs the fault harness and prints the table of figures; exits 1 when a guarantee was violated.

`python -m tests.faults [SCENARIO…] [--seed N] [--count N]`. Scenarios: kills, victims, stopped, clock_jumps, failpoints, or
failpoint:NAME. Without any, all of them, at the size that the figures are promised for: 1,000 kills, each failpoint 100 times.
"""

from __future__ import annotations

import argparse
import sys
from time import monotonic

from taskmeter.failpoints import IN_SHIM, NAMES
from tests.faults.rig import new_seed
from tests.faults.scenarios import Result, clock_jumps, failpoint, kills, stopped, victims

FULL_COUNT = {"kills": 1000, "victims": 1000, "stopped": 30, "clock_jumps": 300, "failpoints": 100}
KILLS_PER_RIG = 100
"""A new store now and then: the judges read all of it."""


def _run(name: str, seed: int, count: int, options: tuple[str, ...]) -> Result:
    if name == "kills":
        total = Result(name, seed, count, options)
        for begin in range(0, count, KILLS_PER_RIG):
            total.add(kills(seed + begin, min(KILLS_PER_RIG, count - begin), *options))
            print(f"  … {total.fault_count} kills, {total.task_count} tasks, {total.violation_count} violations", flush=True)
        return total
    if name == "victims":
        return victims(seed, count, *options)
    if name == "stopped":
        return stopped(seed, count, *options)
    if name == "clock_jumps":
        return clock_jumps(seed, count, *options)
    point = name.partition(":")[2]
    return failpoint(seed, count, point, *options)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=list(FULL_COUNT))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=0, help="faults of each scenario; for `stopped` the seconds")
    parser.add_argument("--cgroup", default="", help="the daemon's setting: auto, off")
    options = parser.parse_args()
    serve = ("--cgroup", options.cgroup) if options.cgroup else ()
    seed = new_seed() if options.seed is None else options.seed
    print(f"seed {seed}")
    names = []
    for name in options.scenarios:
        names += [f"failpoint:{point}" for point in (*NAMES, *IN_SHIM)] if name == "failpoints" else [name]
    results = []
    for name in names:
        begin = monotonic()
        count = options.count or FULL_COUNT["failpoints" if ":" in name else name]
        result = _run(name, seed, count, serve)
        print(f"{result}\n  {monotonic() - begin:.0f} s", flush=True)
        results.append(result)
    print(f"\n| scenario | faults | tasks | events | violations | again |\n|{' --- |' * 6}")
    for each in results:
        print(
            f"| {each.name} | {each.fault_count} | {each.task_count} | {each.event_count} | {each.violation_count} "
            f"| `{each.command}` |"
        )
    return 1 if any(each.violation_count for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
