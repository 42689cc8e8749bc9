"""What tasks use of GPUs: summed over the processes of each, integrated over time, absent where it is not measured."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest

from metercore.gpu import GpuMonitor
from metercore.meterpage import read_meter
from metercore.procfs import read_stat
from metercore.reading import Reading
from metercore.sampler import Sampler
from taskmeter.v1 import task_pb2
from tests.native.conftest import Plant
from tests.native.gpus import FakeNvml, now_us
from tests.native.trees import Tree, python, reading_when
from tests.waiting import wait_until

MIB = 2**20
HZ = 10.0
PAIR = """
import os, signal
child = os.fork()
if child == 0:
    signal.pause()
open('up', 'w').write(f'{os.getpid()} {child}\\n')
signal.pause()
"""


@pytest.fixture
def monitor(nvml: FakeNvml) -> Iterator[GpuMonitor]:
    with nvml.watch(HZ) as made:
        yield made


@pytest.fixture
def sampler(monitor: GpuMonitor) -> Iterator[Sampler]:
    made = Sampler(start=False)
    made.watch_gpus(monitor)
    yield made
    made.close()


@pytest.fixture
def pair(planted: Plant) -> tuple[Tree, int, int]:
    """A task of two processes: the tree and their pids."""
    tree = planted(*python(PAIR))
    parent, child = map(int, tree.wait_for("up").split())
    return tree, parent, child


def gpu_is(sampler: Sampler, handle: int, condition: Callable[[Reading], object]) -> Reading:
    return reading_when(sampler, handle, condition, "GPU figures as expected")


def test_memory_and_use_are_summed_over_processes_and_listed_by_gpu(
    sampler: Sampler, nvml: FakeNvml, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, child = pair
    handle = tree.open(sampler)
    gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 0)
    lines = [
        "count 3",
        "uuid 1 GPU-one",
        "name 1 Fake One",
        f"compute 0 {os.getpid()} {900 * MIB}",
        f"compute 1 {parent} {100 * MIB}",
        f"compute 1 {child} {20 * MIB}",
        f"compute 2 {child} {3 * MIB}",
    ]
    nvml.play(*lines)
    now = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 123 * MIB)
    assert now.gpus == ((1, 120 * MIB, 0.0), (2, 3 * MIB, 0.0))
    nvml.play(
        *lines, *(f"sample {gpu} {pid} {now_us()} {use}" for gpu, pid, use in ((1, parent, 40), (1, child, 5), (2, child, 30)))
    )
    gpu_is(sampler, handle, lambda now: now.peak_gpu_utilization_percent == 75.0)
    now = gpu_is(sampler, handle, lambda now: now.gpu_utilization_percent == 0.0)
    assert now.gpu_ns > 0
    assert now.peak_gpu_memory_bytes == 123 * MIB
    assert now.avg_gpu_memory_bytes is not None
    assert 0 < now.avg_gpu_memory_bytes <= 123 * MIB
    assert sampler.gpu_name(1) == ("GPU-one", "Fake One")
    status = task_pb2.TaskStatus.FromString(sampler.hot(handle))
    assert [(gpu.index, gpu.uuid, gpu.name, gpu.memory_bytes) for gpu in status.metrics.gpus] == [
        (1, "GPU-one", "Fake One", 120 * MIB),
        (2, "GPU-0", "Fake GPU", 3 * MIB),
    ]
    assert status.metrics.gpu_memory_mb == 123.0
    assert status.tokens.gpu_memory > 0
    assert status.tokens.gpu_ns == now.gpu_ns
    nvml.play("count 3")
    now = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 0)
    assert (now.gpus, now.peak_gpu_memory_bytes) == ((), 123 * MIB)


def test_two_processes_of_one_task_share_no_more_than_the_whole_gpu(
    sampler: Sampler, nvml: FakeNvml, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, child = pair
    handle = tree.open(sampler)
    gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 0)
    nvml.play(
        "count 1",
        *(f"compute 0 {pid} {MIB}" for pid in (parent, child)),
        *(f"sample 0 {pid} {now_us()} 70" for pid in (parent, child)),
    )
    gpu_is(
        sampler, handle, lambda now: now.peak_gpu_utilization_percent is not None and now.peak_gpu_utilization_percent >= 100.0
    )
    assert sampler.read(handle).peak_gpu_utilization_percent == 100.0


def test_a_part_that_is_not_told_makes_the_sum_absent_not_smaller(
    sampler: Sampler, nvml: FakeNvml, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, child = pair
    handle = tree.open(sampler)
    nvml.play("count 2", f"compute 0 {parent} {MIB}", f"compute 1 {child} na", "code DeviceGetProcessUtilization 3 1")
    now = gpu_is(sampler, handle, lambda now: len(now.gpus) == 2)
    assert now.gpus == ((0, MIB, 0.0), (1, None, None))
    assert (now.gpu_memory_bytes, now.gpu_utilization_percent) == (None, None)


def test_integrals_follow_each_look_exactly(
    sampler: Sampler, nvml: FakeNvml, monitor: GpuMonitor, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, _ = pair
    handle = tree.open(sampler)
    before = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 0)
    assert before.gpu_memory_byte_ns2 == 0
    nvml.play("count 1", f"compute 0 {parent} {64 * MIB}")
    first = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 64 * MIB)
    begin = time.monotonic_ns()
    looks = monitor.sequence
    reading_when(sampler, handle, lambda _: monitor.sequence >= looks + 10, "ten looks")
    last = sampler.read(handle)
    elapsed = time.monotonic_ns() - begin
    held = Fraction(last.gpu_memory_byte_ns2 - first.gpu_memory_byte_ns2, 2 * 64 * MIB)
    assert abs(held - elapsed) < 2.5e9 / HZ, "constant memory × time, up to a look at either end"


def test_a_sleeping_task_with_a_busy_gpu_is_accounted_for(
    nvml: FakeNvml, monitor: GpuMonitor, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, _ = pair
    sampler = Sampler(10.0)
    sampler.watch_gpus(monitor)
    handle = tree.open(sampler)
    wait_until(lambda: sampler.read(handle).gpu_memory_bytes == 0, "it is measured")
    nvml.play("count 1", f"compute 0 {parent} {MIB}", f"busy 0 {parent} 50")
    wait_until(lambda: sampler.read(handle).gpu_utilization_percent == 50.0, "it is busy")
    first = sampler.read(handle)
    begin = time.monotonic_ns()
    wait_until(lambda: sampler.read(handle).gpu_ns > first.gpu_ns + 10**9, "a second of GPU time")
    last = sampler.read(handle)
    assert abs((last.gpu_ns - first.gpu_ns) - (time.monotonic_ns() - begin) / 2) < 5e8, "half of the time, up to some looks"
    assert last.gpu_memory_byte_ns2 > first.gpu_memory_byte_ns2
    assert last.cpu_ns - first.cpu_ns < 10**9, "it slept"
    sampler.close()


def test_a_driver_that_hangs_makes_it_absent_and_memory_is_held_over_the_gap(
    sampler: Sampler, nvml: FakeNvml, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, _ = pair
    handle = tree.open(sampler)
    scenario = ("count 1", f"compute 0 {parent} {64 * MIB}")
    nvml.play(*scenario)
    before = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 64 * MIB)
    begin = time.monotonic_ns()
    nvml.play(*scenario, "hang DeviceGetCount")
    hung = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes is None)
    assert (hung.gpus, hung.gpu_utilization_percent) == ((), None)
    assert hung.peak_gpu_memory_bytes == 64 * MIB, "what was, was"
    assert hung.gpu_memory_byte_ns2 >= before.gpu_memory_byte_ns2
    assert hung.cpu_ns > 0 and sampler.stats().tick_count > 1, "CPU is sampled all the same"
    nvml.play("count 1", f"compute 0 {parent} {2 * MIB}")
    after = gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 2 * MIB)
    elapsed = time.monotonic_ns() - begin
    held = (after.gpu_memory_byte_ns2 - before.gpu_memory_byte_ns2) / (2 * 64 * MIB)
    assert 4e8 < held < elapsed + 2.5e8
    assert after.gap


def test_the_account_survives_the_daemon_and_the_end(nvml: FakeNvml, monitor: GpuMonitor, pair: tuple[Tree, int, int]) -> None:
    tree, parent, _ = pair
    nvml.play("count 1", f"compute 0 {parent} {64 * MIB}", f"busy 0 {parent} 80")
    first = Sampler(start=False)
    first.watch_gpus(monitor)
    handle = tree.open(first)
    before = gpu_is(first, handle, lambda now: now.gpu_ns > 0 and now.gpu_memory_byte_ns2 > 0)
    first.close()
    page = read_meter(str(tree.directory / "meter"))
    assert page["gpu_memory_byte_ns2"] == before.gpu_memory_byte_ns2
    assert page["peak_gpu_memory_bytes"] == 64 * MIB
    del first

    second = Sampler(start=False)  # without a driver: what was billed stays, what is now is not known
    again = tree.open(second)
    now = second.read(again)
    assert now.gpu_memory_bytes is None
    assert now.gpu_memory_byte_ns2 == before.gpu_memory_byte_ns2
    second.watch_gpus(monitor)
    gpu_is(second, again, lambda now: now.gpu_memory_byte_ns2 > before.gpu_memory_byte_ns2)
    tree.end()
    final = second.finish(again)
    assert final.gpu_memory_byte_ns2 > before.gpu_memory_byte_ns2
    assert final.gpu_ns > before.gpu_ns
    assert final.peak_gpu_memory_bytes == 64 * MIB
    assert final.avg_gpu_memory_bytes is not None
    assert read_meter(str(tree.directory / "meter"))["gpu_memory_byte_ns2"] == final.gpu_memory_byte_ns2


def test_without_a_monitor_everything_about_gpus_is_absent(pair: tuple[Tree, int, int]) -> None:
    tree, _, _ = pair
    sampler = Sampler(start=False)
    handle = tree.open(sampler)
    sampler.tick()
    now = sampler.read(handle)
    assert (now.gpu_memory_bytes, now.peak_gpu_memory_bytes, now.avg_gpu_memory_bytes) == (None, None, None)
    assert (now.gpu_utilization_percent, now.peak_gpu_utilization_percent, now.gpus, now.gpu_ns) == (None, None, (), 0)
    assert sampler.gpu_name(0) == sampler.gpu_name(-1) == sampler.gpu_name(99) == ("", "")


def test_where_no_gpu_is_there_everything_is_absent(
    sampler: Sampler, nvml: FakeNvml, monitor: GpuMonitor, pair: tuple[Tree, int, int]
) -> None:
    tree, _, _ = pair
    nvml.play("count 0")
    wait_until(lambda: monitor.reason == "the driver knows of no GPU", "it is known")
    handle = tree.open(sampler)
    sampler.tick()
    assert sampler.read(handle).gpu_memory_bytes is None


def test_a_process_that_ends_takes_its_memory_out_of_the_sum(
    sampler: Sampler, nvml: FakeNvml, pair: tuple[Tree, int, int]
) -> None:
    tree, parent, child = pair
    handle = tree.open(sampler)
    nvml.play("count 1", f"compute 0 {parent} {MIB}", f"compute 0 {child} {2 * MIB}")
    gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == 3 * MIB)
    os.kill(child, signal.SIGKILL)
    nvml.play("count 1", f"compute 0 {parent} {MIB}")
    gpu_is(sampler, handle, lambda now: now.gpu_memory_bytes == MIB)
    assert read_stat(parent).pid == parent


def test_names_follow_the_gpus_when_the_driver_comes_back_with_others(
    sampler: Sampler, nvml: FakeNvml, monitor: GpuMonitor
) -> None:
    def is_called(uuid: str) -> bool:
        sampler.tick()
        return sampler.gpu_name(0)[0] == uuid

    wait_until(lambda: is_called("GPU-0"), "it is named")
    nvml.play("code DeviceGetCount 9")
    wait_until(lambda: monitor.state == "failed", "it has gone")
    assert is_called("GPU-0"), "until another is known"
    nvml.play("count 1", "uuid 0 GPU-b")
    wait_until(lambda: is_called("GPU-b"), "it has another name")
