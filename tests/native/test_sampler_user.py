"""The sampler as an ordinary user without cgroups: everything of one's own, and what can be had of others."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.meterpage import read_meter
from metercore.report import ReportBlock
from metercore.sampler import Sampler
from taskmeter.model.usage import MemorySource, MetricsSource
from tests.native.trees import MIB, reading_when
from tests.native.users import NOBODY, as_nobody

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")]

PR_SET_DUMPABLE = 4


@pytest.fixture
def directory() -> Iterator[Path]:
    """An attempt directory that is the ordinary user's own."""
    path = Path(tempfile.mkdtemp(prefix="taskmeter-user-"))
    (path / "task").mkdir()
    for each in (path, path / "task"):
        os.chown(each, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def be_dumpable() -> None:
    """Undo what setuid did: otherwise not even one's own /proc/self/io is readable (prctl(2), PR_SET_DUMPABLE)."""
    assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0


def child(work: str) -> int:
    """Fork a child that holds 40 MiB and sleeps, or burns."""
    pid = os.fork()
    if pid == 0:
        block = bytearray(b"x") * (40 * MIB)
        while work == "burn":
            block[0] ^= 1
        signal.pause()
    return pid


def end(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_an_ordinary_user_meters_a_tree_of_their_own(directory: Path) -> None:
    def work() -> None:
        be_dumpable()
        pids = child("sleep"), child("sleep"), child("burn")
        try:
            sampler = Sampler(start=False)
            handle = sampler.open(os.getpid(), pids[0], str(directory))
            ReportBlock(directory / "task" / "report").add(3)
            reading = reading_when(
                sampler,
                handle,
                lambda now: (
                    now.process_count == 3 and now.cpu_ns > 5e8 and now.memory_bytes > 120 * MIB and now.completed_count == 3
                ),
                "all three are metered",
            )
            assert reading.source == MetricsSource.CLOCK
            assert reading.memory_source == MemorySource.PSS
            assert reading.memory_bytes < 250 * MIB
            assert reading.io_read_bytes is not None
            assert reading.cpu_percent > 0
        finally:
            end(*pids)
        assert sampler.finish(handle).cpu_ns >= reading.cpu_ns
        assert read_meter(f"{directory}/meter")["cpu_ns"] >= reading.cpu_ns

    as_nobody(work)


def test_of_somebody_elses_tree_cpu_and_resident_memory_are_known_and_io_is_absent(directory: Path) -> None:
    pids = child("sleep"), child("sleep")
    parent = os.getpid()
    try:

        def work() -> None:
            sampler = Sampler(start=False)
            handle = sampler.open(parent, pids[0], str(directory))
            reading = reading_when(
                sampler,
                handle,
                lambda now: now.memory_source == MemorySource.RSS and now.memory_bytes > 80 * MIB,
                "both are metered",
            )
            assert reading.process_count >= 2
            assert reading.io_read_bytes is None
            assert reading.io_write_bytes is None
            assert reading.pss_bytes is None
            sampler.finish(handle)

        as_nobody(work)
    finally:
        end(*pids)
