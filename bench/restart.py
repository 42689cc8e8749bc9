"""How long after a kill -9 does a daemon with N running tasks serve again? Target: p50 ≤ 300 ms, p99 ≤ 2 s for 1,000.

From the start of the new process to its `ready` line, and to the first answered call; every task must still be RUNNING. In turns
with a daemon that has no task: what is left of the difference is recovery, the rest is the start of any Python daemon. Its
memory per task is the difference of both proportional set sizes once all are metered again. `restart.py [N] [ROUNDS]`.
"""

from __future__ import annotations

import statistics
import sys
import time

from bench import harness
from tests.daemon import Daemon
from tests.waiting import wait_until

TASKS = harness.full(1000, quick=20)
ROUNDS = harness.full(10, quick=1)


def restart(daemon: Daemon, tasks: int) -> tuple[float, float, float]:
    """Kill and start it; return (ms to ready, CPU ms to ready, ms to the first answer)."""
    daemon.kill9()
    begin = time.perf_counter()
    daemon.start()
    ready = time.perf_counter() - begin
    cpu = harness.cpu_seconds(daemon.pid)
    running = daemon.calls.ListTasks(states=[3], page_size=1).total_count
    answered = time.perf_counter() - begin
    assert running == tasks, running
    return ready * 1e3, cpu * 1e3, answered * 1e3


def settled_pss_kib(daemon: Daemon, tasks: int) -> int:
    """Return its memory once every task is metered: a status then says when it was sampled."""
    wait_until(lambda: all(task.metrics.sample_time for task in daemon.calls.ListTasks(page_size=max(1, tasks)).tasks), "", 60)
    daemon.restart()
    wait_until(lambda: harness.cpu_seconds(daemon.pid) > 0, "")
    last = 0
    while (now := harness.pss_kib(daemon.pid)) != last:
        last = now
        time.sleep(2)
    return last


def main() -> None:
    tasks, rounds = (int(each) for each in [*sys.argv[1:], *map(str, (TASKS, ROUNDS)[len(sys.argv) - 1 :])])
    loaded: list[tuple[float, float, float]] = []
    empty: list[tuple[float, float, float]] = []
    with Daemon("--max-running", str(2 * tasks)) as daemon, Daemon() as bare:
        for _ in range(tasks):
            daemon.calls.StartTask(spec={"command": {"argv": ["sleep", "3600"]}})
        wait_until(lambda: daemon.calls.ListTasks(states=[3], page_size=1).total_count == tasks, "all tasks run", 60)
        for _ in range(rounds):
            loaded.append(restart(daemon, tasks))
            empty.append(restart(bare, 0))
        pss = settled_pss_kib(daemon, tasks) - settled_pss_kib(bare, 0)
    harness.heading(f"How long after a kill -9 does a daemon with {tasks} running tasks serve again?")
    rows = []
    for index, what in enumerate(("new process says ready", "processor time until then", "first call is answered")):
        mine, base = ([each[index] for each in found] for found in (loaded, empty))
        p50, p99 = harness.percentile(mine, 50), harness.percentile(mine, 99)
        ratio = statistics.median(mine) / statistics.median(base)
        rows.append((what, tasks, f"{p50:.0f}", f"{p99:.0f}", harness.spread(base, ".0f"), f"{ratio:.2f}"))
    harness.table([f"{rounds} kills", "N", "p50 ms", "p99 ms", "without tasks, ms", "ratio"], rows)
    print(f"Memory per running task: {pss / tasks:.1f} KiB (PSS, more than the daemon without tasks).")
    print("Target: p50 ≤ 300 ms, p99 ≤ 2 s for 1,000.")


if __name__ == "__main__":
    main()
