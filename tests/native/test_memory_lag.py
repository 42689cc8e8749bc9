"""What a memory cgroup says lags behind: the kernel gathers its statistics by 64 pages, or every two seconds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from metercore.sampler import Sampler


class LaggingCgroup:
    """A memory cgroup of version 1, as far as it is read, which says what it is told to; its one member sleeps."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sleeper = subprocess.Popen(["sleep", "1000"])
        self.say(0)
        (directory / "cgroup.procs").write_text(f"{self.sleeper.pid}\n")

    def say(self, held_bytes: int) -> None:
        (self.directory / "memory.stat").write_text(f"total_cache 0\ntotal_rss {held_bytes}\ntotal_swap 0\n")


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[LaggingCgroup]:
    made = LaggingCgroup(tmp_path)
    yield made
    made.sleeper.kill()
    made.sleeper.wait()


def test_a_living_task_never_holds_nothing(cgroup: LaggingCgroup) -> None:
    sampler = Sampler(start=False)
    pid = cgroup.sleeper.pid
    handle = sampler.open(pid, pid, cgroup_v1_memory=str(cgroup.directory))
    shown = sampler.read(handle).memory_bytes
    assert 0 < shown <= psutil.Process(pid).memory_info().rss


def test_what_is_gathered_after_a_task_fell_asleep_is_seen_soon(cgroup: LaggingCgroup) -> None:
    sampler = Sampler(start=False)
    pid = cgroup.sleeper.pid
    cgroup.say(4096)
    handle = sampler.open(pid, pid, cgroup_v1_memory=str(cgroup.directory))
    for _ in range(3):
        sampler.tick(skip_seconds=0.1)
    assert sampler.read(handle).memory_bytes == 4096
    cgroup.say(65536)
    for _ in range(4):
        sampler.tick(skip_seconds=1.0)
    assert sampler.read(handle).memory_bytes == 65536
