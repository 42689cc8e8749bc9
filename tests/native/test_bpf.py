"""The table of processes from BPF, against /proc, CPU clocks and rusage of real processes.

Where BPF cannot be used the tests check, instead, that the reason is told.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import clock_gettime_ns

import psutil
import pytest

from metercore.bpf import BpfRow, BpfTable, probe
from metercore.procfs import read_stat
from tests.native.users import as_nobody
from tests.waiting import wait_until

REASON = probe()
WORDS = ["not permitted", "pid namespace", "CONFIG_DEBUG_INFO_BTF", "Linux 5.8", "bpf(2)", "layout", "time namespace", "refused"]
BURN = """
import os, resource, signal, sys, threading, time
def burn(seconds, clock=time.CLOCK_THREAD_CPUTIME_ID):
    end = time.clock_gettime(clock) + seconds
    while time.clock_gettime(clock) < end:
        pass
def say(*words):
    print(*words, flush=True)
"""


def assert_explained(reason: str | None) -> None:
    assert reason
    assert any(word in reason for word in WORDS), reason


@pytest.fixture
def table() -> Iterator[BpfTable | None]:
    made = BpfTable() if REASON is None else None
    yield made
    if made is not None:
        made.close()


def where_it_works(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test with a table; where there can be none, check that we are told why."""

    @functools.wraps(test)
    def run(table: BpfTable | None, **fixtures: object) -> None:
        if table is not None:
            test(table, **fixtures)
            return
        assert_explained(REASON)
        with pytest.raises(OSError, match=r"\w"):
            BpfTable()

    return run


@contextmanager
def child(code: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run Python code until it has said a line; the process and that line."""
    argv = [sys.executable, "-S", "-c", BURN + code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def clock_ns(pid: int) -> int:
    """The process's CPU clock, see clock_getcpuclockid(3)."""
    return clock_gettime_ns((~pid << 3) | 2)


def row_of(table: BpfTable, pid: int) -> BpfRow:
    table.sweep()
    row = table.row(pid)
    assert row is not None
    return row


def row_at_rest(table: BpfTable, pid: int) -> BpfRow:
    """A row taken while the process did not run: then the CPU clock says the very same."""

    def look() -> BpfRow | None:
        before = clock_ns(pid)
        row = row_of(table, pid)
        return row if clock_ns(pid) == before == row.cpu_ns else None

    return wait_until(look, f"the row of {pid} says what its CPU clock says")


@where_it_works
def test_our_own_row_is_what_proc_says(table: BpfTable) -> None:
    stat = read_stat(os.getpid())
    row = row_of(table, os.getpid())
    assert (row.pid, row.ppid, row.start_ticks) == (stat.pid, stat.ppid, stat.start_ticks)
    assert row.whole and row.thread_count == stat.thread_count == threading.active_count()
    assert row.rss_pages == pytest.approx(stat.rss_pages, abs=table.rss_error_pages * row.thread_count + stat.rss_pages / 4)
    assert not row.zombie


@where_it_works
def test_hundreds_of_processes_and_threads_are_all_found_in_several_reads(table: BpfTable) -> None:
    sleepers = [subprocess.Popen(["sleep", "1000"]) for _ in range(320)]
    try:
        with child(
            "for _ in range(700): threading.Thread(target=signal.pause, daemon=True).start()\nsay()\nsignal.pause()"
        ) as it:
            row = row_of(table, it[0].pid)
            assert row.whole and row.thread_count == 701
            assert table.task_count >= 320 + 701
        rows = {row.pid: row for row in table.rows()}
        assert len(rows) == len(table.rows()), "one row for each process"
        for process in sleepers:
            stat, row = read_stat(process.pid), rows[process.pid]
            assert table.row(process.pid) == row
            assert (row.ppid, row.start_ticks, row.thread_count) == (os.getpid(), stat.start_ticks, 1)
    finally:
        for process in sleepers:
            process.kill()
        for process in sleepers:
            process.wait()
    table.sweep()
    assert [table.row(process.pid) for process in sleepers] == [None] * 320


@where_it_works
def test_threads_that_live_and_that_have_ended_are_in_the_sum(table: BpfTable) -> None:
    code = """
for n in range(4):
    thread = threading.Thread(target=burn, args=(0.05,))
    thread.start()
    thread.join()
def stay():
    burn(0.05)
    ready.release()
    signal.pause()
ready = threading.Semaphore(0)
for n in range(3):
    threading.Thread(target=stay, daemon=True).start()
for n in range(3):
    ready.acquire()
say()
signal.pause()
"""
    with child(code) as (process, _):
        row = row_at_rest(table, process.pid)
        assert row.cpu_ns >= 7 * 50_000_000
        assert row.whole and row.thread_count == 4
        assert row.start_ticks == read_stat(process.pid).start_ticks


@where_it_works
def test_a_busy_process_is_never_ahead_of_its_clock_and_little_behind(table: BpfTable) -> None:
    with child("say()\nburn(1000)") as (process, _):
        behind = []

        def look() -> bool:
            before = clock_ns(process.pid)
            row = row_of(table, process.pid)
            assert row.cpu_ns <= clock_ns(process.pid)
            behind.append(before - row.cpu_ns)
            return before > 300_000_000 and min(behind) < 10_000_000

        wait_until(look, "it is metered to within a tick")


@where_it_works
def test_children_are_what_their_parent_is_told_by_rusage(table: BpfTable) -> None:
    code = """
for n in range(3):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            burn(0.05)
            os._exit(0)
        os.wait()
        os._exit(0)
    os.waitpid(pid, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
say(used.ru_utime + used.ru_stime)
signal.pause()
"""
    with child(code) as (process, seconds):
        row = row_at_rest(table, process.pid)
        assert row.children_cpu_ns == pytest.approx(float(seconds) * 1e9, abs=2001)
        assert row.children_cpu_ns >= 3 * 50_000_000


@where_it_works
def test_a_zombie_keeps_its_time_until_it_is_waited_for(table: BpfTable) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", BURN + "burn(0.1)"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        row = row_at_rest(table, process.pid)
        assert row.zombie
        assert (row.ppid, row.thread_count, row.rss_pages) == (os.getpid(), 1, 0)
        assert row.cpu_ns >= 100_000_000
        process.wait()
        table.sweep()
        assert table.row(process.pid) is None


@where_it_works
def test_a_process_whose_first_thread_has_ended_is_no_zombie(table: BpfTable) -> None:
    code = """
import ctypes
def stay():
    burn(0.05)
    say()
    while True:
        time.sleep(1000)
threading.Thread(target=stay).start()
burn(0.05)
ctypes.CDLL(None).pthread_exit(None)
"""
    with child(code) as (process, _):
        wait_until(lambda: read_stat(process.pid).state == "Z", "its first thread has ended")
        row = row_at_rest(table, process.pid)
        assert not row.zombie
        assert row.whole and row.thread_count == 2
        assert row.cpu_ns >= 100_000_000


@where_it_works
def test_an_orphan_has_its_new_parent(table: BpfTable) -> None:
    code = "pid = os.fork()\nif pid == 0:\n    signal.pause()\nsay(pid)\nos.kill(os.getpid(), signal.SIGKILL)"
    with child(code) as (process, orphan):
        process.wait()
        pid = int(orphan)
        try:
            row = row_of(table, pid)
            assert row.ppid == read_stat(pid).ppid != process.pid
        finally:
            os.kill(pid, signal.SIGKILL)


@where_it_works
def test_a_process_stays_itself_when_a_thread_of_it_executes_another_file(table: BpfTable) -> None:
    code = (
        "burn(0.05)\nsay()\nsys.stdin.readline()\nthreading.Thread(target=os.execvp, args=('sleep', ['sleep', '1000'])).start()"
    )
    with child(code) as (process, _):
        before = row_at_rest(table, process.pid)
        assert process.stdin is not None
        process.stdin.close()
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", "it sleeps")
        after = row_at_rest(table, process.pid)
        assert (after.pid, after.start_ticks, after.thread_count) == (before.pid, before.start_ticks, 1)
        assert after.cpu_ns > before.cpu_ns


@where_it_works
def test_it_holds_while_processes_and_threads_come_and_go(table: BpfTable) -> None:
    code = """
say()
while True:
    threads = [threading.Thread(target=int) for n in range(5)]
    for thread in threads:
        thread.start()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""
    with child(code) as (process, _):
        last = 0
        for _ in range(300):
            row = row_of(table, process.pid)
            if row.whole:
                assert last <= row.cpu_ns <= clock_ns(process.pid)
                last = row.cpu_ns
            rows = table.rows()
            assert len({row.pid for row in rows}) == len(rows)
            assert all(row.thread_count > 0 and row.start_ticks > 0 for row in rows if row.ppid > 2)
        assert last > 0


@where_it_works
def test_memory_is_within_the_stated_error_of_psutils(table: BpfTable) -> None:
    with child("block = bytearray(b'x') * 50_000_000\nsay()\nsignal.pause()") as (process, _):
        pages = psutil.Process(process.pid).memory_info().rss // os.sysconf("SC_PAGESIZE")
        assert abs(row_of(table, process.pid).rss_pages - pages) <= table.rss_error_pages


@where_it_works
def test_pids_that_are_none_have_no_row(table: BpfTable) -> None:
    table.sweep()
    for pid in (0, -1, 2**22, 2**31 - 1, -(2**31)):
        assert table.row(pid) is None


@where_it_works
def test_a_closed_table_says_so(table: BpfTable) -> None:
    table.close()
    table.close()
    assert table.rows() == []
    assert table.row(os.getpid()) is None
    with pytest.raises(ValueError, match="closed"):
        table.sweep()


@where_it_works
def test_opening_sweeping_and_closing_leaks_nothing(table: BpfTable) -> None:
    def cycle() -> None:
        made = BpfTable()
        made.sweep()
        made.close()
        BpfTable().sweep()
        assert probe() is None

    process = psutil.Process()
    for _ in range(3):
        cycle()
    files, uss = process.num_fds(), process.memory_full_info().uss
    for _ in range(10):
        cycle()
    assert process.num_fds() == files
    assert process.memory_full_info().uss <= uss + 400_000


def test_without_descriptors_a_sweep_fails_and_the_next_one_works() -> None:
    if REASON is not None:
        assert_explained(REASON)
        return
    code = """
import sys
sys.path[:0] = sys.argv[1:]
import resource, os
from metercore.bpf import BpfTable
table = BpfTable()
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
try:
    table.sweep()
except OSError as error:
    print(error.errno, table.rows())
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
table.sweep()
print(table.row(os.getpid()) is not None)
"""
    done = subprocess.run([sys.executable, "-c", code, *sys.path], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["24 []", "True", ""]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_told_what_is_missing() -> None:
    def look() -> None:
        reason = probe()
        assert reason is not None
        assert "CAP_BPF and CAP_PERFMON" in reason
        try:
            BpfTable()
        except PermissionError as error:
            assert reason in str(error)  # noqa: PT017 — pytest is not there in the fork of another user
        else:
            raise AssertionError("it was opened")

    as_nobody(look)


NAMESPACES = {
    "pid namespace": ["--pid", "--mount-proc"],
    "time namespace": ["--time", "--boottime", "86400"],
    "user namespace": ["--user", "--map-root-user"],
}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make all kinds of namespaces")
@pytest.mark.parametrize("kind", NAMESPACES)
def test_in_a_namespace_of_its_own_it_refuses(kind: str) -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; from metercore.bpf import probe; print(probe())"
    command = ["unshare", *NAMESPACES[kind], "--fork", sys.executable, "-c", code, *sys.path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        assert_explained(done.stdout)
        assert kind in done.stdout or REASON is not None
    else:  # not every kernel, container and version of unshare has all kinds
        assert done.stderr.startswith("unshare: ")
