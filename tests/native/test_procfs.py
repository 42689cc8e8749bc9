"""Parsers of /proc text on doctored input, and readers against psutil."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import zlib

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metercore import clock
from metercore.crc import crc32
from metercore.procfs import (
    parse_io,
    parse_rollup,
    parse_stat,
    parse_statm,
    parse_status,
    read_io,
    read_memory,
    read_rollup,
    read_stat,
)
from tests.native.users import as_nobody, in_child

KIB = 1024
TAIL = "S 41 42 42 0 -1 4194304 100 5 0 0 11 22 33 44 20 0 7 0 160312 3133440 412 18446744073709551615 1 1 0 0 0 0 0"
STATUS = """Name:\t{name}
Umask:\t0022
State:\tS (sleeping)
VmRSS:\t  6000 kB
RssAnon:\t  1000 kB
RssFile:\t  2000 kB
RssShmem:\t  3000 kB
VmData:\t  1 kB
VmSwap:\t  4000 kB
Threads:\t1
"""


@given(name=st.binary(max_size=15).filter(lambda name: b"\0" not in name))
@example(name=b"a) S 1 2 (b")
@example(name=b")\n) R 9")
@example(name=b"")
def test_stat_is_parsed_whatever_the_name_of_the_command(name: bytes) -> None:
    stat = parse_stat(b"77 (" + name + b") " + TAIL.encode())
    assert stat == (77, 41, "S", 33, 77, 7, 160312, 412)


@pytest.mark.parametrize(
    "text", [b"", b"77", b"77 (x", b"77 (x)", b"77 (x) ", b"77 (x) S 41 42", b"(x) S " + TAIL[2:].encode(), b"x" * 900]
)
def test_a_stat_that_is_cut_off_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="stat"):
        parse_stat(text)


@given(text=st.binary(max_size=600))
def test_no_bytes_break_a_parser(text: bytes) -> None:
    for parse in (parse_stat, parse_statm, parse_status, parse_rollup, parse_io):
        try:
            parse(text)
        except ValueError:
            continue


def test_statm_gives_resident_and_shared_pages() -> None:
    assert parse_statm(b"1000 200 30 4 0 5 0\n") == (200, 30)
    with pytest.raises(ValueError, match="statm"):
        parse_statm(b"1000 200")


@pytest.mark.parametrize("name", ["python", "RssAnon:", "VmSwap: 9 kB", "RssAnon:\\n"])
def test_status_takes_the_memory_lines_not_the_name(name: str) -> None:
    assert parse_status(STATUS.format(name=name).encode()) == (1000 * KIB, 2000 * KIB, 3000 * KIB, 4000 * KIB)


def test_a_status_without_memory_lines_is_that_of_a_zombie_and_refused() -> None:
    with pytest.raises(ValueError, match="memory"):
        parse_status(b"Name:\tsh\nState:\tZ (zombie)\nThreads:\t1\n")


def test_a_kernel_without_swap_has_none() -> None:
    text = "\n".join(line for line in STATUS.format(name="x").splitlines() if "Swap" not in line) + "\n"
    assert parse_status(text.encode()).swap_bytes == 0


def test_rollup_gives_proportional_sizes() -> None:
    lines = [b"5-7 ---p 0 00:00 0 [rollup]", b"Rss: 9 kB", b"Pss: 8 kB", b"Pss_Anon: 3 kB", b"Pss_File: 2 kB", b"Pss_Shmem: 1 kB"]
    text = b"\n".join([*lines, b"Swap: 5 kB", b"SwapPss: 4 kB", b""])
    assert parse_rollup(text) == (3 * KIB, 2 * KIB, 1 * KIB, 4 * KIB)


def test_io_is_what_went_to_storage() -> None:
    assert parse_io(b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n") == (
        5,
        6,
    )


def test_readers_agree_with_psutil() -> None:
    block = bytearray(b"x") * (20 * KIB * KIB)
    own = psutil.Process()
    stat, memory, rollup = read_stat(own.pid), read_memory(own.pid), read_rollup(own.pid)
    assert (stat.pid, stat.ppid, stat.state) == (own.pid, own.ppid(), "R")
    assert stat.thread_count == own.num_threads()
    times = own.cpu_times()
    assert stat.cpu_ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(times.user + times.system, abs=1.0)
    info = own.memory_info()
    resident = memory.anonymous_bytes + memory.file_bytes + memory.shared_bytes
    assert resident == pytest.approx(info.rss, rel=0.1)
    assert stat.rss_pages * resource.getpagesize() == pytest.approx(info.rss, rel=0.1)
    assert memory.anonymous_bytes >= len(block)
    full = own.memory_full_info()
    assert rollup.anonymous_bytes + rollup.file_bytes + rollup.shared_bytes == pytest.approx(full.pss, rel=0.1)
    io = own.io_counters()
    now = read_io(own.pid)
    assert now.read_bytes >= io.read_bytes
    assert now.write_bytes >= io.write_bytes


def test_a_process_that_has_gone_is_an_os_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        for read in (read_stat, read_memory, read_rollup, read_io):
            with pytest.raises((FileNotFoundError, ProcessLookupError)):
                read(child.pid)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process of somebody else")
def test_an_ordinary_user_reads_resident_memory_of_others_but_not_their_io() -> None:
    pid = os.getpid()

    def look() -> None:
        assert read_stat(pid).pid == pid
        assert read_memory(pid).anonymous_bytes > 0
        for read in (read_io, read_rollup):
            with pytest.raises(PermissionError):
                read(pid)

    as_nobody(look)


@given(data=st.binary(max_size=5000))
def test_crc_is_that_of_zlib(data: bytes) -> None:
    assert crc32(data) == zlib.crc32(data)


def test_clocks_are_the_kernels() -> None:

    for ours, theirs in [
        (clock.monotonic_ns, time.CLOCK_MONOTONIC),
        (clock.boottime_ns, time.CLOCK_BOOTTIME),
        (clock.realtime_ns, time.CLOCK_REALTIME),
        (clock.thread_cpu_ns, time.CLOCK_THREAD_CPUTIME_ID),
    ]:
        before = time.clock_gettime_ns(theirs)
        now = ours()
        assert before <= now <= time.clock_gettime_ns(theirs)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can join groups")
def test_memory_of_a_process_with_many_groups_is_readable() -> None:
    def look() -> None:
        os.setgroups(range(2_000_000_000, 2_000_003_000))
        assert read_memory(os.getpid()).anonymous_bytes > 0
        expected = psutil.Process().memory_info()
        now = read_memory(os.getpid())
        resident = now.anonymous_bytes + now.file_bytes + now.shared_bytes
        assert resident == pytest.approx(expected.rss, rel=0.1)

    in_child(look)


@pytest.mark.parametrize("number", ["18446744073709551616", "99999999999999999999", "4294967338"])
def test_a_number_that_does_not_fit_is_refused_and_not_cut(number: str) -> None:
    with pytest.raises(ValueError, match="stat"):
        parse_stat(b"77 (x) " + TAIL.replace("S 41 ", f"S {number} ").encode())
    with pytest.raises(ValueError, match="memory"):
        parse_status(STATUS.format(name="x").replace("  1000 kB", "18014398509481985 kB").encode())
