"""How long after a kill -9 does a daemon with a thousand running tasks serve again? Target: p50 ≤ 300 ms, p99 ≤ 2 s.

From the start of the new process to its `ready` line, and to the first answered call; every task must still be RUNNING.
"""

from __future__ import annotations

import time

from bench import harness
from tests.daemon import Daemon
from tests.waiting import wait_until

TASKS = 1000
ROUNDS = 10


def main() -> None:
    ready_ms, answered_ms = [], []
    with Daemon("--max-running", str(2 * TASKS)) as daemon:
        for _ in range(TASKS):
            daemon.calls.StartTask(spec={"command": {"argv": ["sleep", "3600"]}})
        wait_until(lambda: daemon.calls.ListTasks(states=[3], page_size=1).total_count == TASKS, "all tasks run", 60)
        for _ in range(ROUNDS):
            daemon.kill9()
            begin = time.perf_counter()
            daemon.start()
            ready_ms.append((time.perf_counter() - begin) * 1e3)
            running = daemon.calls.ListTasks(states=[3], page_size=1).total_count
            answered_ms.append((time.perf_counter() - begin) * 1e3)
            assert running == TASKS, running
    harness.heading(f"How long after a kill -9 does a daemon with {TASKS} running tasks serve again?")
    harness.table(
        [f"{ROUNDS} kills", "ms, median (range)"],
        [
            ("new process says ready", harness.spread(ready_ms, ".0f")),
            ("and has listed them", harness.spread(answered_ms, ".0f")),
        ],
    )
    print("Target: p50 ≤ 300 ms, p99 ≤ 2 s.")


if __name__ == "__main__":
    main()
