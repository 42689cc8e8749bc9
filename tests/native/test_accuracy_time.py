"""Stops, jumps and pauses: CPU stays exact, memory is held, the sample says `gap`, peaks are not updated, nothing goes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.meterpage import read_meter
from metercore.reading import Reading
from metercore.sampler import Sampler
from tests.native.backends import Backend, each_backend
from tests.native.test_accuracy_duty import cpu_clock
from tests.native.trees import Tree, plant, python, reading_when
from tests.waiting import wait_until

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
BURN = "block = bytearray(b'x') * (30 * 2**20)\nopen('up', 'w').write('x\\n')\nwhile True: pass"
CORE = 100 / len(os.sched_getaffinity(0))
"""A whole core, in per cent of what a task may use."""


@pytest.fixture
def burner(backend: Backend, tmp_path: Path) -> Iterator[Tree]:
    tree = plant(tmp_path, *python(BURN), cgroup=backend.cgroup)
    tree.wait_for("up")
    yield tree
    signal.pidfd_send_signal(tree.main, signal.SIGCONT)
    tree.close()


def agrees(reading: Reading, before: float, after: float) -> None:
    """CPU is what the process's clock said, between just before and just after the sample."""
    assert before - TICK_SECONDS - 0.01 <= reading.cpu_ns / 1e9 <= after + TICK_SECONDS + 0.01


def sampled(sampler: Sampler, handle: int, tree: Tree, skip_seconds: float = 0.0) -> Reading:
    """Tick, check CPU against the process's clock, and that nothing went back."""
    earlier = sampler.read(handle)
    before = cpu_clock(tree.main_pid)
    sampler.tick(skip_seconds=skip_seconds)
    reading = sampler.read(handle)
    agrees(reading, before, cpu_clock(tree.main_pid))
    assert reading.cpu_ns >= earlier.cpu_ns
    assert reading.memory_byte_ns2 >= earlier.memory_byte_ns2
    assert reading.peak_memory_bytes >= earlier.peak_memory_bytes
    assert reading.peak_cpu_percent >= earlier.peak_cpu_percent
    assert 0 <= reading.cpu_percent <= 100
    return reading


@each_backend
def test_a_stopped_tree_uses_no_cpu_but_holds_its_memory(backend: Backend, burner: Tree) -> None:
    sampler = backend.make(start=False)
    handle = backend.open(sampler, burner)
    reading_when(sampler, handle, lambda now: now.cpu_cores > 0, "it burns")
    signal.pidfd_send_signal(burner.main, signal.SIGSTOP)
    stat = Path(f"/proc/{burner.main_pid}/stat")
    wait_until(lambda: stat.read_text().rsplit(") ", 1)[1][0] == "T", "it is stopped")
    stopped = sampled(sampler, handle, burner, 0.2)
    last = stopped
    for _ in range(25):
        last = sampled(sampler, handle, burner, 0.2)
        assert last.cpu_ns - stopped.cpu_ns <= 1e9 * TICK_SECONDS
        assert not last.gap
    assert last.cpu_cores == 0.0
    assert last.memory_bytes == stopped.memory_bytes > 0
    held = (last.memory_byte_ns2 - stopped.memory_byte_ns2) / 2e9 / last.memory_bytes
    assert 4.0 <= held <= 7.0, "25 times 0.2 s; what sleeps is published once a second"
    signal.pidfd_send_signal(burner.main, signal.SIGCONT)
    again = reading_when(sampler, handle, lambda now: now.cpu_ns > last.cpu_ns + 2e8, "it burns on")
    assert again.peak_cpu_percent <= CORE * 1.15
    sampled(sampler, handle, burner)


@each_backend
def test_a_pause_of_the_machine_is_a_gap(backend: Backend, burner: Tree) -> None:
    """Monotonic time jumps and nothing has run: a VM that was paused, a laptop that slept on a kernel that counts it."""
    sampler = backend.make(start=False)
    handle = backend.open(sampler, burner)
    reading_when(sampler, handle, lambda now: now.peak_cpu_percent > 0 and now.cpu_ns > 8e8, "it burns")
    before = sampled(sampler, handle, burner)
    wall = time.time()
    after = sampled(sampler, handle, burner, skip_seconds=3600)
    assert time.time() - wall < 1800, "the wall clock did not move: intervals are not its business"
    assert after.gap
    assert after.peak_cpu_percent == before.peak_cpu_percent
    assert after.peak_memory_bytes == pytest.approx(before.peak_memory_bytes, rel=0.1)
    held = (after.memory_byte_ns2 - before.memory_byte_ns2) / 2e9
    assert held == pytest.approx(3600 * before.memory_bytes, rel=0.01)
    last = after
    for _ in range(30):
        last = sampled(sampler, handle, burner, skip_seconds=0.1)
    assert not last.gap, "it is shown for two seconds"
    sampler.close()
    assert read_meter(str(burner.directory / "meter"))["had_gap"], "and kept in the account"


SAMPLER = """
import sys
from metercore.sampler import Sampler
shim, main, directory, v2, v1, backend = sys.argv[1:]
sampler = Sampler(20.0, backend=backend)
handle = sampler.open(int(shim), int(main), directory, cgroup_v2=v2, cgroup_v1_memory=v1)
for line in sys.stdin:
    now, stats = sampler.read(handle), sampler.stats()
    # The thread may be between two ticks: asked again, it shows the tick after the question.
    while sampler.stats().tick_count < stats.tick_count + 2: pass
    now = sampler.read(handle)
    print(now.cpu_ns, now.peak_cpu_percent, int(now.gap), now.memory_byte_ns2, now.memory_bytes, flush=True)
"""


@each_backend
def test_a_stopped_sampler_goes_on_with_a_gap(backend: Backend, burner: Tree) -> None:
    command = [sys.executable, "-c", SAMPLER, str(burner.shim.pid), str(burner.main_pid), str(burner.directory)]
    command += [burner.cgroup_v2, burner.cgroup_v1_memory, backend.sampler.get("backend", "auto")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def ask() -> tuple[float, ...]:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("?\n")
            other.stdin.flush()
            return tuple(float(word) for word in other.stdout.readline().split())

        try:
            burnt = cpu_clock(burner.main_pid)
            wait_until(lambda: ask() and cpu_clock(burner.main_pid) > burnt + 0.5, "it burns")
            # On a machine that is busy with others a thread may miss three ticks: then that gap passes first.
            cpu, peak, _, integral, memory = wait_until(lambda: (told := ask())[2] == 0 and told, "there is no gap", 60)
            other.send_signal(signal.SIGSTOP)
            burnt = cpu_clock(burner.main_pid)
            since = time.monotonic()
            wait_until(lambda: cpu_clock(burner.main_pid) > burnt + 1.5, "it burns unseen", 60)
            unseen = time.monotonic() - since
            other.send_signal(signal.SIGCONT)
            before = cpu_clock(burner.main_pid)
            now_cpu, now_peak, now_gap, now_integral, _ = ask()
            assert now_gap
            assert before - 0.15 <= now_cpu / 1e9 <= cpu_clock(burner.main_pid) + TICK_SECONDS
            assert now_cpu > cpu + 1.4e9
            assert now_peak <= max(peak, CORE * 1.15), "1.5 s of CPU in one tick are no peak"
            assert (now_integral - integral) / 2e9 >= unseen * memory * 0.99, "held over the hole"
        finally:
            other.kill()


@pytest.mark.root
def test_offsets_of_a_time_namespace_change_nothing(tmp_path: Path) -> None:
    """In a container that was moved, monotonic and boot time begin elsewhere, and start times in /proc with them."""
    code = """
import os, sys, time
from pathlib import Path
from metercore.sampler import Sampler
Path("attempt/task").mkdir(parents=True)
assert time.monotonic() > 10**7
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    while time.process_time() < 0.3: pass
    os.write(writer, b"+")
    while True: pass
os.read(reader, 1)
sampler = Sampler(start=False)
handle = sampler.open(os.getpid(), child, "attempt")
begin = time.monotonic()
first = sampler.read(handle)
while time.clock_gettime((~child << 3) | 2) < 0.8: sampler.tick()
sampler.tick(skip_seconds=0.1)
now = sampler.read(handle)
os.kill(child, 9); os.waitpid(child, 0)
assert 0.25e9 < first.cpu_ns < 0.5e9, first.cpu_ns
assert 0.7e9 < now.cpu_ns < 1.2e9, now.cpu_ns
assert not now.gap
held = (now.memory_byte_ns2 - first.memory_byte_ns2) / 2e9 / now.memory_bytes
assert 0.1 < held < time.monotonic() - begin + 0.3, held
assert 0 < now.avg_cpu_percent <= 100
# Its age is some seconds, not the months that the clocks are apart: the average tells.
assert now.avg_cpu_percent >= 1.0, now.avg_cpu_percent
"""
    done = subprocess.run(
        ["unshare", "--time", "--fork", "--monotonic", "12345678", "--boottime", "23456789", sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
