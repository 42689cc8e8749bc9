"""Sleepers take turns once a tick that looks at all of them is dear: it costs less, and nothing of them is missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metercore.sampler import FASTEST_HZ, Sampler
from tests.waiting import wait_until

SLOTS = 500
TICK_SECONDS = 1 / FASTEST_HZ
TICKS = 40
LATE_TICKS = 11
"""Half a second, and the tick in which it ends."""
BURN = """
import sys, time
for _ in sys.stdin:
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    print(flush=True)
"""


def test_sleepers_take_turns_and_are_seen_to_wake_within_half_a_second() -> None:
    sampler = Sampler(FASTEST_HZ, start=False, visit_share=1e-6)
    with subprocess.Popen([sys.executable, "-S", "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as work:
        assert work.stdin is not None
        assert work.stdout is not None
        handles = [sampler.open(work.pid, work.pid) for _ in range(SLOTS)]
        wait_until(lambda: Path(f"/proc/{work.pid}/stat").read_text().split()[2] == "S", "it waits for input")
        for _ in range(TICKS):
            sampler.tick(TICK_SECONDS)
        before = sampler.stats()
        for _ in range(TICKS):
            sampler.tick(TICK_SECONDS)
        after = sampler.stats()
        visits = (after.sample_count - before.sample_count) / TICKS
        assert visits < SLOTS / 2, "most wait for their turn"
        readings = [sampler.read(handle) for handle in handles]
        assert not any(reading.gap for reading in readings), "to wait for a turn is no gap"
        slept = {handle: reading.cpu_ns for handle, reading in zip(handles, readings, strict=True)}
        work.stdin.write("\n")
        work.stdin.flush()
        assert work.stdout.readline() == "\n"
        for _ in range(LATE_TICKS):
            sampler.tick(TICK_SECONDS)
        assert all(sampler.read(handle).cpu_ns >= slept[handle] + 150_000_000 for handle in handles)
        work.stdin.close()
    sampler.close()
