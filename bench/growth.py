"""How do start rate, processor time and memory grow with the number of running tasks? `python -m bench.growth [--quick]`.

One daemon gets more and more `sleep` tasks, one call after the other. At each number: tasks started per second since the number
before, the daemon's processor time for each start, its share of a core while they sleep and are sampled, its memory and a shim's.
Leaves bench/results/growth.json. idle.py and memory.py ask the same of one number, and more closely.
"""

from __future__ import annotations

import sys

from bench import harness, report
from bench.idle import busy_percent
from bench.memory import add_tasks, daemon_kib, shim_kib
from bench.result import Column, Plot, Result
from tests.daemon import Daemon

COUNTS = (100, 300, 1_000, 2_000, 3_000)
WINDOWS, WINDOW_SECONDS = 3, 4.0
SETTLE_SECONDS = 8.0


def main(arguments: list[str]) -> None:
    options = harness.options(arguments)
    counts, windows, seconds, settle = (
        ((20, 50), 1, 0.5, 0.5) if options.quick else (COUNTS, WINDOWS, WINDOW_SECONDS, SETTLE_SECONDS)
    )
    result = Result(
        "growth",
        "How do start rate, processor time and memory grow with the number of running tasks?",
        [f"`sleep` tasks, started one call after the other; {windows} windows of {seconds:g} s at each number; 10 samples/s."],
        ["tasks"],
        [
            Column("started_per_second", "started/s"),
            Column("start_ms", "daemon CPU per start, ms", ".2f"),
            Column("idle_percent", "% of a core, asleep", ".2f"),
            Column("idle_percent_per_1000", "the same per 1,000 tasks", ".2f"),
            Column("daemon_mib", "daemon Pss, MiB", ".1f"),
            Column("kb_per_task", "daemon Pss_Anon more per task, kB", ".1f"),
            Column("shim_kib", "shim, KiB", ".0f"),
        ],
        plots=[
            Plot("started_per_second", "Tasks started per second, one call after the other", "tasks", y_log=False),
            Plot("idle_percent", "Share of a core for sleeping tasks", "tasks", y_log=False),
            Plot("daemon_mib", "Memory of the daemon", "tasks", y_log=False),
        ],
        base="the daemon",
        quick=options.quick,
    )
    with harness.fresh_directory() as home, Daemon("--max-running", str(max(counts)), state_dir=home / "state") as daemon:
        warm = daemon_kib(daemon.pid)
        running = 0
        for count in counts:
            before = harness.cpu_seconds(daemon.pid)
            took = add_tasks(daemon, count - running, 0.0)
            spent = harness.cpu_seconds(daemon.pid) - before
            shares = busy_percent(daemon, windows, seconds + settle / windows)
            memory = daemon_kib(daemon.pid)
            cell = {
                "tasks": count,
                "side": "the daemon",
                "started_per_second": [(count - running) / took],
                "start_ms": [spent / (count - running) * 1e3],
                "idle_percent": shares,
                "idle_percent_per_1000": [share / count * 1_000 for share in shares],
                "daemon_mib": [memory["Pss"] / 1024],
                "kb_per_task": [(memory["Pss_Anon"] - warm["Pss_Anon"]) * 1.024 / count],
                "shim_kib": list(map(float, shim_kib(daemon))),
            }
            result.cells.append(cell)
            running = count
    result.save()
    print(report.markdown_of(result))


if __name__ == "__main__":
    main(sys.argv[1:])
