"""How much memory does a running task cost: in the daemon, in its shim, and on the host against a bare command?

A daemon is given more and more `sleep` tasks, and then restarted: what it has more than an empty one is what running tasks need.
Before that it also holds what is bounded, however many there are: its newest events, the database's cached pages. In turns with
as many bare commands as each step, whose cost is taken from MemAvailable too. Libraries that the tasks map as well count less in
Pss the more tasks there are: Pss_Anon is the figure without that. Targets: ≤ 8 kB in the daemon, shim ≤ 200 kB (RssAnon + page
tables). `memory.py [STEP_TASKS] [STEPS]`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench import harness
from tests import processes
from tests.daemon import Daemon
from tests.waiting import wait_until

STEP_TASKS = harness.full(1000, quick=20)
STEPS = harness.full(3, quick=2)
COMMAND = ["sleep", "3600"]
SETTLE_SECONDS = harness.full(12.0, quick=1.0)
"""The sampler's steps of a second are written after ten of them; memory is read once all have been through that."""
FIELDS = ("Pss", "Pss_Anon", "Pss_File", "Private_Dirty")


def available_kib() -> int:
    """Return what the host could still give to processes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def daemon_kib(pid: int) -> dict[str, int]:
    """Return the daemon's memory by kind."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    return {**{name: found[name] for name in FIELDS}, "VmPTE": harness.status_kib(pid, "VmPTE")}


def add_tasks(daemon: Daemon, count: int, settle_seconds: float = SETTLE_SECONDS) -> float:
    """Start tasks and wait until all of them run and have been sampled for a while; return the seconds until they ran."""
    calls = daemon.calls
    before = calls.ListTasks(states=[3], page_size=1).total_count
    begin = time.perf_counter()
    for _ in range(count):
        calls.StartTask(spec={"command": {"argv": COMMAND}})
    wait_until(lambda: calls.ListTasks(states=[3], page_size=1).total_count == before + count, "all tasks run", 120)
    seconds = time.perf_counter() - begin
    time.sleep(settle_seconds)
    return seconds


def shim_kib(daemon: Daemon) -> list[int]:
    """Return the memory of each shim: RssAnon and page tables."""
    found = [pid for pid, command in processes.of_state_dir(daemon.state_dir).items() if "taskmeter-shim" in command]
    return [harness.status_kib(pid, "RssAnon", "VmPTE") for pid in found]


def bare_kib(count: int) -> float:
    """Return what the host has less, per bare command, while `count` of them run."""
    before = available_kib()
    running = [subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL) for _ in range(count)]
    time.sleep(SETTLE_SECONDS)
    taken = (before - available_kib()) / count
    for process in running:
        process.kill()
    for process in running:
        process.wait()
    return taken


def main() -> None:
    step_tasks, steps = (int(each) for each in [*sys.argv[1:], *map(str, (STEP_TASKS, STEPS)[len(sys.argv) - 1 :])])
    grown: dict[str, list[float]] = {}
    taken: list[float] = []
    bare: list[float] = []
    shims: list[tuple[int, float, int]] = []
    with Daemon("--max-running", str(2 * step_tasks * steps)) as daemon:
        warm = daemon_kib(daemon.pid)
        for number in range(steps):
            bare.append(bare_kib(step_tasks))
            before, free = daemon_kib(daemon.pid), available_kib()
            add_tasks(daemon, step_tasks)
            after = daemon_kib(daemon.pid)
            taken.append((free - available_kib()) / step_tasks)
            for name, kib in after.items():
                grown.setdefault(name, []).append((kib - before[name]) * 1024 / step_tasks)
            kib_each = shim_kib(daemon)
            assert len(kib_each) == step_tasks * (number + 1)
            shims.append((len(kib_each), sum(kib_each) / len(kib_each), max(kib_each)))
        daemon.restart()
        time.sleep(SETTLE_SECONDS)
        needed = {name: (kib - warm[name]) * 1024 / (step_tasks * steps) for name, kib in daemon_kib(daemon.pid).items()}
    harness.heading("How much memory does a running task cost?")
    print(f"{steps} steps of {step_tasks} `sleep` tasks; an empty daemon has {warm['Pss'] / 1024:.1f} MiB. Median (range).\n")
    rows: list[tuple[str, str, str]] = [
        (f"daemon, restarted: {name} per task, bytes", f"{each:.0f}", "≤ 8,000" if name == "Pss" else "")
        for name, each in needed.items()
    ]
    rows += [
        *(
            (f"daemon that started them: {name} more per task and step, bytes", harness.spread(each, ".0f"), "")
            for name, each in grown.items()
        ),
        *(
            (f"shim: RssAnon + VmPTE with {count}, KiB", f"{mean:.0f} (max {most})", "≤ 195 (200 kB)")
            for count, mean, most in shims
        ),
        ("host: MemAvailable less per task, KiB", harness.spread(taken, ".0f"), ""),
        ("host: MemAvailable less per bare command, KiB", harness.spread(bare, ".0f"), ""),
        ("the difference, KiB", harness.spread((a - b for a, b in zip(taken, bare, strict=True)), ".0f"), ""),
    ]
    harness.table(["", "measured", "target"], rows)


if __name__ == "__main__":
    main()
