"""What is shown of a process that works 30 % of the time: 30 points, give or take 4, as the mean of a second at 20 Hz.

The truth is the process's own CPU clock over the same time, so that a loaded machine, on which it gets less, changes both.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.native.backends import Backend, each_backend
from tests.native.trees import plant, python
from tests.waiting import wait_until

HZ = 20
POINTS = 4.0

DUTY = """
import time
# 15 ms of each 50, by its own CPU clock; what it is late is not made up for.
while True:
    begin, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.015: pass
    time.sleep(max(0.0, begin + 0.05 - time.monotonic()))
"""


def cpu_clock(pid: int) -> float:
    """Seconds on the clock that clock_getcpuclockid(3) gives for a pid."""
    return time.clock_gettime((~pid << 3) | 2)


@each_backend
def test_a_duty_of_30_percent_is_shown_as_30_give_or_take_4(backend: Backend, tmp_path: Path) -> None:
    tree = plant(tmp_path, *python(DUTY), cgroup=backend.cgroup)
    sampler = backend.make(HZ)
    try:
        handle = backend.open(sampler, tree)
        wait_until(lambda: cpu_clock(tree.main_pid) > 1.0, "it is in its stride: interpreter start is over", 60)
        shown: list[float] = []
        clocks: list[tuple[float, float]] = []
        # What is shown is of a window that began before: the truth has to begin there too.
        clocks.append((time.monotonic(), cpu_clock(tree.main_pid)))
        if backend.windows_are_sweeps:
            sweeps = sampler.stats().sweep_count
            wait_until(lambda: sampler.stats().sweep_count >= sweeps + 2, "a window from end to end", 60)
        else:
            wait_until(lambda: time.monotonic() > clocks[0][0] + 0.2, "a window from end to end")
        for _ in range(HZ):
            ticks = sampler.stats().tick_count
            wait_until(lambda ticks=ticks: sampler.stats().tick_count > ticks, "a tick")  # type: ignore[misc]
            clocks.append((time.monotonic(), cpu_clock(tree.main_pid)))
            shown.append(sampler.read(handle).cpu_cores)
        (begin, before), (end, after) = clocks[0], clocks[-1]
        truth = 100 * (after - before) / (end - begin)
        mean = 100 * sum(shown) / HZ
        assert mean == pytest.approx(truth, abs=POINTS)
        assert 0 < truth < 35, "the generator is what it says"
    finally:
        sampler.close()
        tree.close()
