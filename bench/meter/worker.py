"""The sides that are Python: `python -m bench.meter.worker SIDE DIRECTORY`, told to look as side.Worker says.

Each is a function that looks at the pids it was made for; CPU time is that of the whole process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from bench.meter.side import UnavailableError
from metercore.bpf import BpfTable
from metercore.sampler import Sampler

Look = Callable[[], object]
HZ = 10.0
LOOP_HZ = 20.0
YOUNG_SECONDS = 12.0
"""New slots are sampled, swept for and persisted more often at first (metercore/tick.pyx, metercore/sample.pyx)."""
ATTRS = ["cpu_times", "memory_info", "num_threads"]


def psutil_oneshot(pids: Sequence[int]) -> Look:
    """CPU times, memory and threads of Process objects that are kept."""
    processes = [psutil.Process(pid) for pid in pids]

    def look() -> None:
        for process in processes:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
                process.num_threads()

    return look


def psutil_iter(_pids: Sequence[int]) -> Look:
    """The same of every process of the system; psutil keeps the objects."""
    return lambda: [process.info for process in psutil.process_iter(ATTRS)]


def psutil_children(pids: Sequence[int]) -> Look:
    """What one writes per task: find the processes below each of `pids`, then ask each."""

    def look() -> None:
        for pid in pids:
            task = psutil.Process(pid)
            for process in (task, *task.children(recursive=True)):
                process.cpu_times()
                process.memory_info()

    return look


def bpf_table(_pids: Sequence[int]) -> Look:
    """The table that the back end reads processes from, without anything that is made of it."""
    try:
        return BpfTable().sweep
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error


def make_directories(base: Path, count: int) -> list[str]:
    """Attempt directories as the sampler expects them."""
    found = [base / str(n) for n in range(count)]
    for directory in found:
        (directory / "task").mkdir(parents=True)
        (directory / "task" / "report").touch()
        (directory / "gone").write_bytes(bytes(4096))
    return list(map(str, found))


def open_slots(sampler: Sampler, shape: str, root: int, pids: Sequence[int], base: Path) -> list[int]:
    """One slot for the tree of all below `root`, or one for each of `pids` and what is below it."""
    if shape == "tree":
        return [sampler.open(root, pids[0], make_directories(base, 1)[0])]
    return [sampler.open(pid, pid, place) for pid, place in zip(pids, make_directories(base, len(pids)), strict=True)]


def make_sampler(backend: str, hz: float) -> Sampler:
    """Force a back end."""
    try:
        return Sampler(hz, start=False, backend=backend)
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error


def grow_old(sampler: Sampler) -> None:
    """Let time jump until no slot is young and each process's share of memory is known, which is read once while it sleeps."""
    jump_seconds = 4 / sampler.hz  # a longer one is a gap
    shares, seconds = -1, 0.0
    while seconds < YOUNG_SECONDS or sampler.stats().pss_count > shares:
        shares = sampler.stats().pss_count
        for _ in range(10):
            sampler.tick(skip_seconds=jump_seconds)
            seconds += jump_seconds


class Ticks:
    """Our sampler without its thread. Its monotonic clock jumps, so that ticks are as far apart as at HZ, never more often."""

    def __init__(self, backend: str, shape: str, base: Path, root: int, pids: Sequence[int]) -> None:
        self._sampler = make_sampler(backend, HZ)
        self._last = time.monotonic()
        open_slots(self._sampler, shape, root, pids, base)
        grow_old(self._sampler)

    def __call__(self) -> None:
        now = time.monotonic()
        self._sampler.tick(skip_seconds=max(1 / HZ - (now - self._last), 0.0))
        self._last = now


def answer_looks(look: Look) -> None:
    """Look as often as each line says."""
    look()
    print("ready", flush=True)
    for line in sys.stdin:
        passes = int(line)
        before = time.process_time_ns()
        for _ in range(passes):
            look()
        print(time.process_time_ns() - before, flush=True)


def answer_loops(backend: str, shape: str, base: Path, root: int, pids: Sequence[int]) -> None:
    """Let the sampler's own thread run as many seconds as each line says; answer with its CPU ns, wall ns, ticks, overruns."""
    sampler = make_sampler(backend, LOOP_HZ)
    open_slots(sampler, shape, root, pids, base)
    grow_old(sampler)
    sampler.start()
    print("ready", flush=True)
    for line in sys.stdin:
        before, begin = sampler.stats(), time.monotonic_ns()
        time.sleep(float(line))
        after, end = sampler.stats(), time.monotonic_ns()
        print(
            after.thread_cpu_ns - before.thread_cpu_ns,
            end - begin,
            after.tick_count - before.tick_count,
            after.overrun_count - before.overrun_count,
            flush=True,
        )
    sampler.close()


SIMPLE = {
    "psutil-oneshot": psutil_oneshot,
    "psutil-iter": psutil_iter,
    "psutil-children": psutil_children,
    "table": bpf_table,
}


def raise_descriptor_limit() -> None:
    """Keep as many files open as one may, as the daemon does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(side: str, directory: str) -> None:
    raise_descriptor_limit()
    root, *pids = map(int, sys.stdin.readline().split())
    try:
        if side in SIMPLE:
            answer_looks(SIMPLE[side](pids))
            return
        kind, backend, shape = side.split("-")
        if kind == "ticks":
            answer_looks(Ticks(backend, shape, Path(directory), root, pids))
        else:
            answer_loops(backend, shape, Path(directory), root, pids)
    except UnavailableError as error:
        print("unavailable", error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
