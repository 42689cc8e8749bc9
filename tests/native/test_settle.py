"""Closing accounts: of attempts nobody sampled, of those a dead daemon left, and what a torn page is worth."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.meterpage import read_meter
from metercore.settle import settle_files
from taskmeter.model.usage import MemorySource, MetricsSource

MIB = 2**20
METER = struct.Struct("<QII40sQQqQQQQQdQQQQQQQQQQQdQQII")
"""struct tm_meter of native/metercore/_c/meter.h up to memory_source."""
SIZE = 272


def page_slot(serial: int, **more: int) -> bytes:
    values = {"cpu_ns": 0, "ns2": 0, "memory": 0, "peak": 0, "realtime_ns": 0, "samples": 0, "had_gap": 0, **more}
    body = METER.pack(
        0x20524554454D4D54,
        2,
        serial,
        b"boot",
        1,
        2,
        values["realtime_ns"],
        values["cpu_ns"],
        values["ns2"] & (2**64 - 1),
        values["ns2"] >> 64,
        values["memory"],
        values["peak"],
        0.0,
        *[2**64 - 1] * 6,  # io, switches, faults
        *[0, 0, 2**64 - 1, 2**64 - 1, 0],  # GPU memory over time, now, at most; GPU time
        -1.0,
        0,
        values["samples"],
        1,
        1,
    ) + struct.pack("<IIQI", values["had_gap"], 0, 0, 0)
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


def test_a_task_nobody_sampled_has_numbers_from_its_rusage(directory: str) -> None:
    reading = settle_files(
        directory,
        start_time=1000.0,
        end_time=1000.02,
        reaped_cpu_ns=15_000_000,
        max_rss_bytes=4 * MIB,
        read_bytes=0,
        write_bytes=512,
    )
    assert reading.source == MetricsSource.RUSAGE
    assert reading.memory_source == MemorySource.RSS
    assert reading.cpu_ns == 15_000_000
    assert reading.memory_bytes == reading.peak_memory_bytes == 4 * MIB
    assert reading.memory_byte_ns2 == pytest.approx(4 * MIB * 20_000_000, rel=1e-6), "the trapezoid from 0 to the maximum"
    assert reading.avg_memory_bytes == pytest.approx(2 * MIB, rel=1e-6)
    online = os.sysconf("SC_NPROCESSORS_ONLN")
    assert reading.avg_cpu_percent == pytest.approx(100 * 0.75 / online, rel=1e-6)
    assert reading.peak_cpu_percent == reading.cpu_percent == reading.avg_cpu_percent
    assert reading.cpu_cores == pytest.approx(0.75, rel=1e-6)
    assert (reading.io_read_bytes, reading.io_write_bytes) == (0, 512)
    assert reading.sample_time == pytest.approx(1000.02)
    assert not reading.gap
    page = read_meter(directory + "/meter")
    assert (page["cpu_ns"], page["memory_byte_ns2"]) == (reading.cpu_ns, reading.memory_byte_ns2)
    assert page["io_write_bytes"] == 512


def test_a_cgroups_total_counts_before_the_rusage(directory: str) -> None:
    reading = settle_files(
        directory, start_time=1.0, end_time=2.0, reaped_cpu_ns=5, cgroup_cpu_ns=3, kernel_peak_memory_bytes=MIB
    )
    assert (reading.cpu_ns, reading.source) == (3, MetricsSource.CGROUP)
    assert reading.kernel_peak_memory_bytes == MIB


def test_nothing_known_is_nothing_measured(directory: str) -> None:
    reading = settle_files(directory)
    assert not reading.measured
    assert (reading.source, reading.memory_source) == (MetricsSource.UNSPECIFIED, MemorySource.UNSPECIFIED)
    assert reading.io_read_bytes is reading.pss_bytes is reading.kernel_peak_memory_bytes is None


def test_what_a_dead_daemon_billed_is_kept_and_held_to_the_end(directory: str) -> None:
    page = page_slot(8, cpu_ns=9 * 10**9, ns2=2**70, memory=100, peak=200, realtime_ns=1000 * 10**9, samples=50)
    Path(directory, "meter").write_bytes(page.ljust(4096, b"\0"))
    reading = settle_files(directory, start_time=900.0, end_time=1060.0, reaped_cpu_ns=10**9, max_rss_bytes=MIB)
    assert reading.cpu_ns == 9 * 10**9, "a published total never falls"
    assert reading.memory_byte_ns2 == 2**70 + 2 * 100 * 60 * 10**9
    assert reading.peak_memory_bytes == 200, "sampled maximum, not the largest process"
    assert reading.memory_source == MemorySource.CGROUP
    assert reading.gap
    again = settle_files(directory, start_time=900.0, end_time=1060.0, reaped_cpu_ns=10**9, max_rss_bytes=MIB)
    assert again.memory_byte_ns2 == reading.memory_byte_ns2, "settling twice bills once"
    assert again.cpu_ns == reading.cpu_ns


def test_the_newer_of_two_slots_counts_and_the_other_if_that_is_torn(directory: str) -> None:
    path = Path(directory, "meter")
    older, newer = page_slot(7, cpu_ns=7), page_slot(8, cpu_ns=8)
    assert len(older) == SIZE
    page = newer.ljust(2048, b"\0") + older.ljust(2048, b"\0")
    path.write_bytes(page)
    assert read_meter(str(path))["cpu_ns"] == 8
    for at in range(0, SIZE, 7):
        torn = bytearray(page)
        torn[at] ^= 0xFF
        path.write_bytes(torn)
        assert read_meter(str(path))["cpu_ns"] == 7
    path.write_bytes(newer)
    assert read_meter(str(path))["cpu_ns"] == 8
    path.write_bytes(bytes(4096))
    with pytest.raises(OSError, match="No data") as refusal:
        read_meter(str(path))
    assert refusal.value.errno == errno.ENODATA
    assert not settle_files(directory).measured, "a page that is no page is as if there were none"


@given(page=st.binary(max_size=4096))
def test_no_page_breaks_a_settlement(tmp_path_factory: pytest.TempPathFactory, page: bytes) -> None:
    directory = tmp_path_factory.getbasetemp()
    (directory / "meter").write_bytes(page)
    assert settle_files(str(directory), start_time=5.0, end_time=4.0, reaped_cpu_ns=3).cpu_ns == 3


def test_a_disk_that_takes_nothing_changes_no_result(directory: str) -> None:
    code = """
import resource, signal, sys
from metercore.settle import settle_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for where in (sys.argv[1], sys.argv[1] + "/none"):
    assert settle_files(where, start_time=1.0, end_time=2.0, reaped_cpu_ns=7).cpu_ns == 7
"""
    subprocess.run([sys.executable, "-c", code, directory], check=True)
