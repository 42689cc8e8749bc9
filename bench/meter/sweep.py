"""What does one look at many processes cost, compared with psutil's `oneshot` over the same ones? Target: 10 times less.

psutil reads CPU times, memory and threads of cached Process objects. "Idle" is a mean over 10 s of the sampler's time at 10 Hz,
and so holds its share of everything else it does: finding new processes, memory, the slow refresh, integrals, publishing.
"All ran" is a mean over one second in which every process was woken up before every tick, so that nothing may be left out.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench import harness
from metercore.sampler import Sampler

ROUNDS = 7
TICKS = 100
INTERVAL_SECONDS = 0.1


def cost_us(function: Callable[[], object]) -> float:
    """CPU microseconds of this thread for one call."""
    begin = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - begin) / 1e3


def psutil_pass(processes: list[psutil.Process]) -> None:
    for process in processes:
        with process.oneshot():
            process.cpu_times()
            process.memory_info()
            process.num_threads()


def ticks(sampler: Sampler) -> None:
    for _ in range(TICKS):
        sampler.tick(skip_seconds=INTERVAL_SECONDS)


def directories(base: Path, count: int) -> list[str]:
    found = [base / str(n) for n in range(count)]
    for directory in found:
        (directory / "task").mkdir(parents=True)
        (directory / "task" / "report").touch()
        (directory / "gone").write_bytes(bytes(4096))
    return list(map(str, found))


def one_tree(base: Path, pids: list[int]) -> Sampler:
    """One slot: all are children of this process, which stands in for the shim."""
    sampler = Sampler(1 / INTERVAL_SECONDS, start=False)
    sampler.open(os.getpid(), pids[0], directories(base / "tree", 1)[0], backend="procfs")
    return sampler


def a_slot_each(base: Path, pids: list[int]) -> Sampler:
    """As many slots as processes, each its own tree."""
    sampler = Sampler(1 / INTERVAL_SECONDS, start=False)
    for pid, directory in zip(pids, directories(base / "slots", len(pids)), strict=True):
        sampler.open(pid, pid, directory, backend="procfs")
    return sampler


def wake(children: list[subprocess.Popen[bytes]]) -> None:
    """Have every child read and write one byte, and wait until all are asleep again."""
    for child in children:
        assert child.stdin is not None
        os.write(child.stdin.fileno(), b"x")
    for child in children:
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            os.sched_yield()


def busy_ticks(sampler: Sampler, children: list[subprocess.Popen[bytes]]) -> float:
    """CPU microseconds of a tick, over one second of them."""
    spent = 0.0
    for _ in range(round(1 / INTERVAL_SECONDS)):
        wake(children)
        spent += cost_us(lambda: sampler.tick(skip_seconds=INTERVAL_SECONDS))
    return spent * INTERVAL_SECONDS


def measure(count: int) -> list[tuple[str, int, str, str]]:
    base = Path(tempfile.mkdtemp(prefix="taskmeter-bench-"))
    children = [
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=True) for _ in range(count)
    ]
    try:
        pids = [child.pid for child in children]
        processes = [psutil.Process(pid) for pid in pids]
        samplers = {"one tree": one_tree(base, pids), "a slot each": a_slot_each(base, pids)}
        costs: dict[str, list[float]] = {}
        for number in range(ROUNDS + 1):
            found = {"psutil oneshot": cost_us(lambda: psutil_pass(processes))}
            for name, sampler in samplers.items():
                found[f"{name}, idle"] = cost_us(lambda sampler=sampler: ticks(sampler)) / TICKS  # type: ignore[misc]
                found[f"{name}, all ran"] = busy_ticks(sampler, children)
            if number:  # the first round fills caches
                for name, cost in found.items():
                    costs.setdefault(name, []).append(cost / count)
        base_cost = statistics.median(costs["psutil oneshot"])
        return [
            (name, count, harness.spread(found_costs), f"{base_cost / statistics.median(found_costs):.1f}")
            for name, found_costs in costs.items()
        ]
    finally:
        for child in children:
            child.kill()
            child.communicate()
        shutil.rmtree(base)


def main() -> None:
    rows = [row for count in (100, 1000) for row in measure(count)]
    harness.heading("What does one look at many processes cost?")
    harness.table(["method", "processes", "CPU µs per process, median (range)", "psutil ÷ it"], rows)


if __name__ == "__main__":
    main()
