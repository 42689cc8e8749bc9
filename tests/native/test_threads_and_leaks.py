"""Slots that come and go while the thread samples; nothing is lost, mixed up or leaked."""

from __future__ import annotations

import gc
import os
import threading
from array import array
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from metercore import descriptors
from metercore.counter import Counter
from metercore.encode import encode_hot
from metercore.epochs import WindowPeak
from metercore.eta import Eta
from metercore.limit import CpuLimit, allowed_cores
from metercore.meterpage import read_meter
from metercore.paths import open_beneath
from metercore.peak import Peak
from metercore.procfs import parse_stat, read_io, read_memory, read_rollup, read_stat
from metercore.rate import Rate
from metercore.report import ReportBlock, parse_report
from metercore.sampler import Sampler
from metercore.settle import settle_files
from metercore.tariff import Tariff
from metercore.tokens import Tokens
from metercore.tree import ProcessTree
from metercore.window import RateWindow
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
        rate, window, peak, highest, counter, eta = Rate(), RateWindow(), Peak(), WindowPeak(), Counter(), Eta()
        tokens = Tokens(memory_byte_ns2=2**100, counts={"pages": 1})
        for n in range(1, 50):
            rate.update(n * 10**9, n)
            window.update(n * 10**9, n)
            peak.update(n * 10**9, n)
            highest.update(n * 10**9, n)
            counter.update(n)
            eta.update(n * 10**9, n)
            tokens.update_memory(n * 10**9, n)
            tokens.update_gpu_memory(n * 10**9, n)
            tokens.add_cpu_ns(n)
            tokens.add("pages", n)
        assert rate.per_second and rate.at(51 * 10**9) and window.per_second(50 * 10**9) and highest.highest(50 * 10**9)
        assert counter.total and tokens.memory_byte_ns2 and tokens.memory_byte_seconds and eta.remaining(50 * 10**9, 100)
        samples = array("Q", range(100))
        tokens.replay_memory(samples, samples, 60 * 10**9)
        quietly(lambda: tokens.replay_memory(samples, samples[1:]))
        tariff = Tariff("default", 1, custom={"pages": 0.5})
        assert tokens.price(tariff).total and tariff.label and hash(tariff) and tariff.custom
        quietly(lambda: Tariff("default", 1, custom={"": 0.5}))
        limit = CpuLimit()
        assert limit.refresh() and limit.percent(0.5) and allowed_cores(os.getpid())
        quietly(lambda: allowed_cores(2**22 + 1))
        quietly(lambda: CpuLimit(proc="/nowhere"))

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

    flat(cycle, 60)
