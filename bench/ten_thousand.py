"""Can this machine run N tasks at once: start, meter, list, restart and stop them all? Target: 10,000 within 60 s.

Every task is a real `sleep`. All must be RUNNING at the same time, every one must have been sampled, the pages of ListTasks must
name each exactly once, a daemon that is killed must take all over again, and one stop by tag must end all without a process left.
The restart is timed apart: it is no part of the 60 s. `ten_thousand.py [N]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import harness
from tests import processes
from tests.daemon import Daemon
from tests.waiting import wait_until

TASKS = harness.full(10_000, quick=30)
PAGE_SIZE = 1000
CALLERS = 8
PHASE_SECONDS = 500.0
TAGS = {"bench": "ten-thousand"}
SPEC = {"command": {"argv": ["sleep", "600"]}, "tags": TAGS}
"""They end by themselves should this program be killed."""
TARGET_SECONDS = 60.0


def pages(daemon: Daemon) -> Iterator[Any]:
    """Yield every task, page by page."""
    token = ""
    while True:
        page = daemon.calls.ListTasks(page_size=PAGE_SIZE, page_token=token)
        yield from page.tasks
        token = page.next_page_token
        if not token:
            return


class Phases:
    """What was done, and at what cost to the daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.rows: list[tuple[str, str, str, str]] = []
        self.seconds = 0.0
        self.begin()

    def begin(self) -> None:
        self._wall, self._cpu = time.perf_counter(), harness.cpu_seconds(self.daemon.pid)

    def end(self, what: str, *, new: bool = False) -> None:
        """Note a phase. `new`: the daemon is another one than when it began, and its time does not count."""
        wall = time.perf_counter() - self._wall
        cpu = harness.cpu_seconds(self.daemon.pid) - (0.0 if new else self._cpu)
        self.seconds += 0.0 if new else wall
        rss = harness.status_kib(self.daemon.pid, "VmRSS") / 1024
        self.rows.append((what, f"{wall:.1f}", f"{cpu:.1f}", f"{rss:.0f}"))
        print(f"{what}: {wall:.1f} s", file=sys.stderr)
        self.begin()


def start(daemon: Daemon, tasks: int) -> None:
    with ThreadPoolExecutor(CALLERS) as callers:
        for _ in callers.map(lambda _: daemon.calls.StartTask(spec=SPEC), range(tasks)):
            pass


def count(daemon: Daemon, *states: int) -> int:
    return int(daemon.calls.ListTasks(states=states, page_size=1).total_count)


def stop(daemon: Daemon) -> None:
    """Stop all by their tag, as a user would."""
    done = daemon.cli("stop", "--tag", "bench=ten-thousand", timeout=PHASE_SECONDS)
    assert done.returncode == 0, done.stderr[-500:]


def restart(daemon: Daemon, tasks: int) -> float:
    """Kill the daemon; return the processor seconds that the next one needs until it has all tasks and is ready."""
    daemon.kill9()
    daemon.start()
    cpu = harness.cpu_seconds(daemon.pid)
    assert count(daemon, 3) == tasks, count(daemon, 3)
    return cpu


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    with harness.fresh_directory() as place, Daemon("--max-running", str(tasks), state_dir=place / "s") as daemon:
        phases = Phases(daemon)
        start(daemon, tasks)
        phases.end("all accepted")
        wait_until(lambda: count(daemon, 3) == tasks, "all run", PHASE_SECONDS)
        phases.end("all RUNNING")
        wait_until(lambda: all(task.metrics.sample_time for task in pages(daemon)), "all are metered", PHASE_SECONDS)
        phases.end("every one sampled")
        listed = [task.token for task in pages(daemon)]
        assert len(listed) == len(set(listed)) == tasks, (len(listed), len(set(listed)))
        phases.end(f"listed in pages of {PAGE_SIZE}")
        cpu = restart(daemon, tasks)
        phases.end("killed and taken over", new=True)
        stop(daemon)
        phases.end("stop of all answered")
        wait_until(lambda: count(daemon, 1, 2, 3, 4) == 0, "all have ended", PHASE_SECONDS)
        phases.end("all have ended")
        assert count(daemon, 6) == tasks, count(daemon, 6)
        left = processes.of_state_dir(daemon.state_dir)
        assert not left, left
    harness.heading(f"Can this machine run {tasks} tasks at once?")
    harness.table(["phase", "s", "daemon's processor s", "daemon's RSS MiB"], phases.rows)
    print(f"In all {phases.seconds:.1f} s without the restart, which took {cpu:.2f} s of processor time until ready.")
    print(f"Target: 10,000 started, metered, listed and stopped within {TARGET_SECONDS:.0f} s; probing them ≤ 2 s.")


if __name__ == "__main__":
    main()
