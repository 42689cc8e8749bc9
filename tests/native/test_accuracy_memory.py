"""Memory against what the kernel says: VmHWM of a process, the peak of a cgroup, sizes that the work itself chose."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from metercore.sampler import Sampler
from taskmeter.model.usage import MemorySource
from tests.native.backends import Backend, each_backend
from tests.native.test_accuracy_duty import cpu_clock
from tests.native.trees import MIB, Tree, plant, python, reading_when
from tests.waiting import wait_until

RSS_ERROR = 2 * MIB
"""The kernel sums resident pages in batches per processor (include/linux/percpu_counter.h): some dozens of pages per process."""

PREAMBLE = """
import os, signal
def say(name):
    with open(name + ".new", "w") as file: file.write("x\\n")
    os.rename(name + ".new", name)
def hold(name):
    os.mkfifo(name)
    say(name + ".waiting")
    with open(name) as file: file.read()
"""

PEAK = """
held = bytearray(b"x") * (80 * 2**20)
hold("peak")
del held
hold("after")
"""
SHARED = """
block = bytearray(b"x") * (100 * 2**20)
for _ in range(4):
    if os.fork() == 0:
        say("up%d" % os.getpid()); signal.pause()
signal.pause()
"""
CACHE = """
with open("big", "wb") as file:
    for _ in range(100): file.write(b"x" * 2**20)
    os.fsync(file.fileno())
with open("big", "rb") as file:
    while file.read(2**20): pass
hold("written")
"""
MANY = """
import mmap
COUNT, SIZE = 70, 4 * 2**20
block = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE)
block.write(b"x" * SIZE)
reader, writer = os.pipe()
for number in range(COUNT):
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # ends when main closes the other end
        for page in range(0, SIZE, 4096): block[page] = 1  # a copy of its own now
        say("copied%d" % number)
        signal.pause()
hold("share")
os.close(writer)
while True: pass  # shares are read again only of trees that have run since
"""

Grow = Callable[..., Tree]


@pytest.fixture
def grow(tmp_path: Path) -> Iterator[Grow]:
    trees: list[Tree] = []

    def make(code: str, cgroup: str) -> Tree:
        trees.append(plant(tmp_path / str(len(trees)), *python(PREAMBLE + code), cgroup=cgroup))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()


def release(tree: Tree, name: str) -> None:
    (tree.directory / "task" / "work" / name).write_text("go")


def kernels_number(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


@each_backend
def test_the_peak_of_a_process_is_its_high_water_mark(backend: Backend, grow: Grow) -> None:
    tree = grow(PEAK, backend.cgroup)
    sampler = backend.make(start=False)
    handle = backend.open(sampler, tree)
    tree.wait_for("peak.waiting")
    peak = reading_when(sampler, handle, lambda now: now.memory_bytes > 80 * MIB, "it is at its peak")
    # VmHWM counts file pages too, those of the interpreter and its libraries.
    truth = kernels_number(tree.main_pid, "VmHWM") - kernels_number(tree.main_pid, "RssFile")
    assert peak.peak_memory_bytes == pytest.approx(truth, abs=RSS_ERROR)
    release(tree, "peak")
    tree.wait_for("after.waiting")
    after = reading_when(sampler, handle, lambda now: now.memory_bytes < 40 * MIB, "it has given it back")
    assert after.peak_memory_bytes >= peak.peak_memory_bytes
    held = kernels_number(tree.main_pid, "RssAnon") + kernels_number(tree.main_pid, "RssShmem")
    assert after.memory_bytes == pytest.approx(held, abs=RSS_ERROR)
    release(tree, "after")


def test_the_kernels_own_peak_stands_beside_it(grow: Grow) -> None:
    tree = grow(PEAK, "auto")
    path = next((Path(name) for name in (f"{tree.cgroup_v2}/memory.peak", f"{tree.cgroup_v1_memory}/memory.max_usage_in_bytes")
                 if os.path.exists(name)), None)  # fmt: skip
    sampler = Sampler(start=False)
    handle = tree.open(sampler)
    tree.wait_for("peak.waiting")
    reading_when(sampler, handle, lambda now: now.memory_bytes > 80 * MIB, "it is at its peak")
    sampler.tick(skip_seconds=11)  # it is read every ten seconds
    reading = sampler.read(handle)
    if path is None:  # no memory cgroup here
        assert reading.kernel_peak_memory_bytes is None
        return
    assert reading.memory_source == MemorySource.CGROUP
    assert reading.kernel_peak_memory_bytes == int(path.read_text())
    # It counts page cache and kernel memory too; statistics lag behind it by a batch per processor (mm/memcontrol.c).
    assert reading.peak_memory_bytes - RSS_ERROR <= reading.kernel_peak_memory_bytes
    assert reading.kernel_peak_memory_bytes <= reading.peak_memory_bytes + 64 * MIB


@each_backend
def test_forks_that_share_memory_count_once(backend: Backend, grow: Grow) -> None:
    tree = grow(SHARED, backend.cgroup)
    sampler = backend.make(start=False)
    handle = backend.open(sampler, tree)
    work = tree.directory / "task" / "work"
    wait_until(lambda: len(list(work.glob("up*[0-9]"))) == 4, "all have forked")
    reading = reading_when(
        sampler, handle, lambda now: now.process_count == 5 and now.memory_bytes > 95 * MIB, "five processes share 100 MiB"
    )
    # Four interpreters that dirtied some pages of their own; five times 100 MiB would be 500.
    assert 100 * MIB <= reading.memory_bytes + RSS_ERROR <= 140 * MIB
    for _ in range(30):
        sampler.tick(skip_seconds=0.3)
        assert 95 * MIB <= sampler.read(handle).memory_bytes <= 140 * MIB


@each_backend
def test_page_cache_is_not_billed(backend: Backend, grow: Grow) -> None:
    tree = grow(CACHE, backend.cgroup)
    sampler = backend.make(start=False)
    handle = backend.open(sampler, tree)
    waiting = tree.directory / "task" / "work" / "written.waiting"
    reading = reading_when(sampler, handle, lambda _: waiting.exists(), "100 MiB are written and read", 60)
    assert reading.peak_memory_bytes < 40 * MIB
    release(tree, "written")


def test_shares_of_more_processes_than_fit_a_batch_are_read_again_for_all(grow: Grow) -> None:
    tree = grow(MANY, "off")
    sampler = Sampler(start=False)
    handle = sampler.open(tree.shim.pid, tree.main_pid, str(tree.directory))
    tree.wait_for("share.waiting")

    def ticked() -> int:
        sampler.tick(skip_seconds=1.1)
        return sampler.read(handle).memory_bytes

    wait_until(lambda: ticked() > 4 * MIB and sampler.read(handle).process_count == 71, "all are found", 30)
    for _ in range(5):
        ticked()
    release(tree, "share")
    work = tree.directory / "task" / "work"
    wait_until(lambda: len(list(work.glob("copied*[0-9]"))) == 70, "all have copied", 60)
    for _ in range(8):
        ran = cpu_clock(tree.main_pid)
        wait_until(lambda ran=ran: cpu_clock(tree.main_pid) > ran, "it has run")  # type: ignore[misc]
        ticked()
    pids = (tree.main_pid, *(child.pid for child in psutil.Process(tree.main_pid).children()))
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line.split() for text in rollups for line in text.splitlines()]
    truth = sum(int(line[1]) * 1024 for line in lines if line[0] in {"Pss_Anon:", "Pss_Shmem:", "SwapPss:"})
    assert ticked() == pytest.approx(truth, rel=0.04)
