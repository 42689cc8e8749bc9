"""Slots that come and go while the thread samples; nothing is lost, mixed up or leaked. Calls alone: test_leaks.py."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from metercore import descriptors
from metercore.report import ReportBlock
from metercore.sampler import Sampler
from tests.native.conftest import Plant
from tests.native.trees import python
from tests.waiting import wait_until

IDLE = "import signal; open('up', 'w').write('x\\n'); signal.pause()"


def attempt(directory: Path) -> str:
    (directory / "task").mkdir(parents=True)
    return str(directory)


def test_slots_come_and_go_from_several_threads_while_it_samples(planted: Plant, tmp_path: Path) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    sampler = Sampler(20.0)
    steady = tree.open(sampler)
    errors: list[BaseException] = []

    def churn(number: int) -> None:
        try:
            directories = [attempt(tmp_path / f"churn{number}.{n}") for n in range(5)]
            held: list[int] = []
            for n in range(300):
                directory = directories[n % 5]
                ReportBlock(f"{directory}/task/report").progress(total=number * 1000 + n % 5)
                handle = sampler.open(
                    tree.shim.pid,
                    tree.main_pid,
                    directory,
                    cgroup_v2=tree.cgroup_v2 if n % 2 else "",
                    cgroup_v1_memory=tree.cgroup_v1_memory,
                )
                held.append(handle)
                assert sampler.hot(handle)
                assert sampler.read(handle).total_count == number * 1000 + n % 5, "a slot shows its own report"
                sampler.history(handle)
                if len(held) > 4:
                    oldest = held.pop(0)
                    assert sampler.finish(oldest).total_count // 1000 == number
                    with pytest.raises(KeyError):
                        sampler.read(oldest)
            for handle in held:
                sampler.finish(handle)
        except BaseException as error:  # noqa: BLE001 — shown by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    stats = sampler.stats()
    assert stats.slot_count == 1
    wait_until(lambda: sampler.stats().tick_count > stats.tick_count + 2, "it still ticks")
    assert sampler.read(steady).measured
    sampler.close()


def flat(cycle: Callable[[], object], rounds: int = 30) -> None:
    """Check that repeating `cycle` leaves memory, descriptors and objects where they were."""
    process = psutil.Process()
    for _ in range(10):
        cycle()
    gc.collect()
    files, kept, objects = process.num_fds(), descriptors.kept_count(), len(gc.get_objects())
    uss = process.memory_full_info().uss
    for _ in range(rounds):
        cycle()
    gc.collect()
    assert process.num_fds() == files
    assert descriptors.kept_count() == kept
    assert len(gc.get_objects()) <= objects + 20
    assert process.memory_full_info().uss <= uss + 400_000


def test_opening_and_finishing_leaks_nothing(planted: Plant, tmp_path: Path) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    sampler = Sampler(start=False)
    directories = [attempt(tmp_path / f"slot{n}") for n in range(20)]
    ReportBlock(directories[0] + "/task/report").status("x")

    def cycle() -> None:
        handles = [
            sampler.open(
                tree.shim.pid, tree.main_pid, directory, cgroup_v2=tree.cgroup_v2, cgroup_v1_memory=tree.cgroup_v1_memory
            )
            for directory in directories
        ]
        sampler.tick(skip_seconds=0.3)
        sampler.tick(skip_seconds=0.3)
        for handle in handles:
            sampler.hot(handle)
            sampler.read(handle)
            sampler.history(handle)
            sampler.finish(handle)

    flat(cycle)


def test_samplers_and_their_threads_leak_nothing(tmp_path: Path) -> None:
    directory = attempt(tmp_path / "attempt")

    def cycle() -> None:
        sampler = Sampler(20.0)
        sampler.open(os.getppid(), os.getpid(), directory)
        wait_until(lambda: sampler.stats().tick_count > 0, "a tick")
        if sampler.stats().tick_count % 2:
            sampler.close()

    flat(cycle, 15)

    def no_sampler_left() -> bool:
        try:
            return not any(path.read_text() == "tm-sampler\n" for path in Path("/proc/self/task").glob("*/comm"))
        except OSError:  # a thread that ends while we look
            return False

    # A joined thread may still be listed for a moment: the kernel wakes its joiner before it is gone.
    wait_until(no_sampler_left, "all samplers' threads are gone")
