"""A real GPU behind a real driver: what a CUDA program allocates and computes is what is measured of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metercore.gpu import GpuMonitor, GpuProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.gpu

MIB = 2**20
SIZE_BYTES = 256 * MIB
TOLERANCE_BYTES = 4 * MIB
"""The driver hands out pages of 2 MiB."""


class Program:
    """tests/native/cuda.py at work."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.expect("ready")

    def expect(self, answer: str) -> None:
        assert self.child.stdout is not None
        assert self.child.stdout.readline().strip() == answer

    def say(self, command: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()

    def use(self, monitor: GpuMonitor) -> GpuProcess | None:
        return next((each for each in monitor.processes() if each.pid == self.child.pid), None)

    def memory_bytes(self, monitor: GpuMonitor) -> int:
        use = self.use(monitor)
        return (use.memory_bytes or 0) if use else 0

    def percent(self, monitor: GpuMonitor) -> float:
        use = self.use(monitor)
        return (use.utilization_percent or 0.0) if use else 0.0


@contextmanager
def running() -> Iterator[Program]:
    command = [sys.executable, str(Path(__file__).with_name("cuda.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Program(child)
        finally:
            child.kill()


@pytest.fixture
def monitor() -> Iterator[GpuMonitor]:
    with GpuMonitor(hz=5.0) as made:
        wait_until(lambda: made.state == "active", f"the driver answers: {made.reason}", 60)
        yield made


def test_gpus_have_names_uuids_and_memory(monitor: GpuMonitor) -> None:
    for gpu in monitor.gpus:
        assert gpu.name and gpu.uuid.startswith("GPU-")
        assert gpu.memory_bytes is not None and gpu.memory_bytes > 2**30


def test_an_allocation_shows_with_its_real_size_and_goes_with_it(monitor: GpuMonitor) -> None:
    with running() as program:
        context_bytes = wait_until(lambda: program.memory_bytes(monitor), "its context appears", 30)
        program.say(f"allocate {SIZE_BYTES}")
        program.expect("done")
        wait_until(
            lambda: abs(program.memory_bytes(monitor) - context_bytes - SIZE_BYTES) <= TOLERANCE_BYTES, "it has its size", 30
        )
        program.say("free")
        program.expect("done")
        wait_until(lambda: abs(program.memory_bytes(monitor) - context_bytes) <= TOLERANCE_BYTES, "it is given back", 30)
    wait_until(lambda: program.use(monitor) is None, "who has ended uses nothing", 30)


def test_a_process_that_uses_no_gpu_does_not_appear(monitor: GpuMonitor) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        sequence = monitor.sequence
        wait_until(lambda: monitor.sequence > sequence + 2, "two looks", 30)
        assert child.pid not in {each.pid for each in monitor.processes()}
        child.communicate()


def test_a_busy_kernel_shows_with_its_utilisation_and_an_idle_context_with_none(monitor: GpuMonitor) -> None:
    if any(gpu.mig for gpu in monitor.gpus):
        assert all(each.utilization_percent is None for each in monitor.processes())
        return
    with running() as program, running() as idle:
        program.say("spin 15")
        program.expect("spinning")
        wait_until(lambda: program.percent(monitor) >= 50.0, "it is busy", 15)
        assert idle.percent(monitor) < 50.0
        program.expect("done")
        wait_until(lambda: program.percent(monitor) < 10.0, "it is idle again", 30)
