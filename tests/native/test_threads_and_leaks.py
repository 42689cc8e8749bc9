"""Slots that come and go while the thread samples; nothing is lost, mixed up or leaked."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from metercore import descriptors
from metercore.encode import encode_hot
from metercore.eta import Eta
from metercore.history import History
from metercore.historyfile import read_history
from metercore.meterpage import read_meter
from metercore.paths import open_beneath
from metercore.peak import Peak
from metercore.procfs import parse_stat, read_io, read_memory, read_rollup, read_stat
from metercore.rate import Rate
from metercore.report import ReportBlock, parse_report
from metercore.sampler import Sampler
from metercore.settle import settle_files
from metercore.tokens import Tokens
from metercore.tree import ProcessTree
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


def quietly(function: Callable[[], object]) -> None:
    try:
        function()
    except (OSError, ValueError, OverflowError):
        pass


def test_no_public_function_leaks(tmp_path: Path) -> None:
    directory = attempt(tmp_path / "attempt")
    report = tmp_path / "report"
    ReportBlock(report).status("x")
    page = report.read_bytes()
    tree = ProcessTree()

    def numerics() -> None:
        rate, peak, tokens, eta = Rate(), Peak(), Tokens(), Eta()
        for n in range(1, 50):
            rate.update(n * 10**9, n)
            peak.update(n * 10**9, n)
            tokens.update(n * 10**9, n)
            eta.update(n * 10**9, n)
        assert rate.per_second and tokens.byte_ns2 and tokens.byte_seconds and eta.remaining(50 * 10**9, 100)

    def cycle() -> None:
        numerics()
        for read in (read_stat, read_memory, read_rollup, read_io):
            read(os.getpid())
            quietly(lambda read=read: read(2**22 + 1))  # type: ignore[misc]
        quietly(lambda: parse_stat(b"x"))
        parse_report(page)
        parse_report(b"")
        block = ReportBlock(report)
        block.add()
        block.object("y").read()
        ReportBlock()
        ReportBlock(tmp_path / "none" / "report")
        os.close(open_beneath(tmp_path, "report"))
        quietly(lambda: open_beneath(tmp_path, "../x"))
        encode_hot({"source": 1}, status="x")
        quietly(lambda: encode_hot({"source": 1}, memory_byte_ns2=2**200))
        settle_files(directory, start_time=1.0, end_time=2.0, reaped_cpu_ns=5)
        read_meter(directory + "/meter")
        quietly(lambda: read_meter(directory + "/none"))
        tree.sweep()
        history = History(directory)
        for n in range(1, 30):
            history.add(n * 10**9, n * 10**9, n * 10**9, n)
        history.flush()
        history.read()
        read_history(directory)
        read_history(directory + "/none")
        quietly(lambda: read_history(directory, -1.0))

    flat(cycle, 60)
