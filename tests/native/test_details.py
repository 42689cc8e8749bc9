"""Open files, switches, faults, pressure and unique sizes, against psutil and getrusage."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path

import psutil
import pytest

from metercore.details import count_open_files, read_pressure, read_switches
from metercore.sampler import Sampler
from metercore.uss import read_uss
from tests.native.backends import Backend, each_backend
from tests.native.conftest import Plant
from tests.native.trees import MIB, plant, python
from tests.waiting import wait_until

EARLY = 100
"""Faults before a process has entered its cgroup, at most; those are not in the cgroup's count."""

USE = """
import os, resource, signal, sys, threading
files = [open("/dev/null") for _ in range(40)]
block = bytearray(64 * 2**20)
event = threading.Event()
def turn():
    for _ in range(500): os.sched_yield(); event.wait(0.0001)
threads = [threading.Thread(target=turn) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
usage = resource.getrusage(resource.RUSAGE_SELF)
open("used.new", "w").write(f"{usage.ru_nvcsw} {usage.ru_nivcsw} {usage.ru_minflt} {usage.ru_majflt}\\n")
os.rename("used.new", "used")
signal.pause()
"""


def test_open_files_are_counted_as_psutil_counts_them(planted: Plant) -> None:
    files = "files = [open('/dev/null') for _ in range(100)]\nopen('up', 'w').write('up\\n')\nimport signal; signal.pause()"
    tree = planted(*python(files))
    tree.wait_for("up")
    process = psutil.Process(tree.main_pid)
    # The file that says "up" may still be about to be closed.
    wait_until(lambda: count_open_files(tree.main_pid) == process.num_fds() >= 100, "both count the same")


def test_switches_of_a_thread_are_those_of_getrusage() -> None:
    tid = threading.get_native_id()
    before = resource.getrusage(resource.RUSAGE_THREAD)
    voluntary, involuntary = read_switches(tid)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    assert before.ru_nvcsw <= voluntary <= after.ru_nvcsw
    assert before.ru_nivcsw <= involuntary <= after.ru_nivcsw


def test_pressure_is_read_where_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "memory.pressure"
    file.write_text("some avg10=12.34 avg60=1.00 avg300=0.10 total=5\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=3\n")
    assert read_pressure(str(file)) == 12.34
    for text in ("", "full avg10=1.00\n", "some avg10=\n"):
        file.write_text(text)
        assert read_pressure(str(file)) is None
    assert read_pressure(str(tmp_path / "none")) is None


def test_a_tree_shows_what_its_processes_have_and_keeps_the_totals_of_its_end(planted: Plant) -> None:
    sampler = Sampler(start=False)
    tree = planted(*python(USE))
    handle = tree.open(sampler)
    voluntary, involuntary, minor, major = map(int, tree.wait_for("used").split())

    def looked() -> bool:
        sampler.tick(skip_seconds=5.0)
        reading = sampler.read(handle)
        return (reading.voluntary_switch_count or 0) > 0 and (reading.minor_fault_count or 0) >= minor - EARLY

    wait_until(looked, "it was looked at")
    reading = sampler.read(handle)
    assert reading.open_file_count == psutil.Process(tree.main_pid).num_fds()
    assert reading.minor_fault_count is not None
    assert reading.major_fault_count is not None
    assert minor - EARLY <= reading.minor_fault_count < minor + 2000, "more only by what came after"
    assert reading.major_fault_count <= major + 10
    # The threads have ended: what they did is known only when the process is reaped.
    assert reading.voluntary_switch_count is not None
    assert 0 < reading.voluntary_switch_count <= voluntary + 100
    os.kill(tree.main_pid, signal.SIGUSR1)
    gone = tree.gone()
    assert voluntary <= gone.reaped_voluntary_switches < voluntary + 100
    assert involuntary <= gone.reaped_involuntary_switches
    final = sampler.finish(
        handle,
        minor_fault_count=gone.reaped_minor_faults,
        major_fault_count=gone.reaped_major_faults,
        voluntary_switch_count=gone.reaped_voluntary_switches,
        involuntary_switch_count=gone.reaped_involuntary_switches,
    )
    assert final.voluntary_switch_count == gone.reaped_voluntary_switches
    assert (final.minor_fault_count or 0) >= minor


def test_pressure_of_a_cgroup_is_shown_where_there_is_one(planted: Plant) -> None:
    sampler = Sampler(start=False)
    tree = planted(*python("open('up', 'w').write('up\\n')\nwhile True: pass"))
    tree.wait_for("up")
    handle = tree.open(sampler)
    sampler.tick(skip_seconds=2.0)
    reading = sampler.read(handle)
    kept = tree.cgroup_v2 and read_pressure(f"{tree.cgroup_v2}/cpu.pressure") is not None
    assert (reading.cpu_pressure_percent is not None) == bool(kept)
    assert (reading.io_pressure_percent is not None) == bool(kept)


def test_unique_sizes_are_those_of_psutil() -> None:
    proportional, unique = read_uss(os.getpid())
    oracle = psutil.Process().memory_full_info()
    assert unique == pytest.approx(oracle.uss, rel=0.02)
    assert proportional <= oracle.pss * 1.02


HOLD = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
block = bytearray(b"x") * (80 * 2**20)
open("up", "w").write("up\\n")
signal.sigwait([signal.SIGUSR1])
del block
open("less", "w").write("less\\n")
signal.pause()
"""


def test_unique_sizes_of_tasks_are_measured_only_where_they_were_asked_for(planted: Plant) -> None:
    tree = planted(*python(HOLD))
    tree.wait_for("up")
    for wanted in (False, True):
        sampler = Sampler(start=False, measure_uss=wanted)
        handle = tree.open(sampler)
        for _ in range(3):
            sampler.tick(skip_seconds=1.0)
        reading = sampler.read(handle)
        if wanted:
            assert reading.uss_bytes is not None
            assert 80 * MIB <= reading.uss_bytes < 120 * MIB
        else:
            assert reading.uss_bytes is None


def test_recent_peaks_forget_and_peaks_do_not(planted: Plant) -> None:
    sampler = Sampler(start=False)
    tree = planted(*python(HOLD))
    tree.wait_for("up")
    handle = tree.open(sampler)
    sampler.tick(skip_seconds=1.0)
    assert sampler.read(handle).recent_peak_memory_bytes >= 80 * MIB
    os.kill(tree.main_pid, signal.SIGUSR1)
    tree.wait_for("less")
    for _ in range(3):
        sampler.tick(skip_seconds=20.0)
    assert sampler.read(handle).recent_peak_memory_bytes >= 80 * MIB, "of at least the last minute"
    for _ in range(6):
        sampler.tick(skip_seconds=30.0)
    reading = sampler.read(handle)
    assert reading.recent_peak_memory_bytes < 80 * MIB
    assert reading.peak_memory_bytes >= 80 * MIB


@each_backend
def test_processes_and_threads_are_counted(backend: Backend, tmp_path: Path) -> None:
    code = """
import os, signal, threading
if os.fork() == 0: signal.pause()
for _ in range(3): threading.Thread(target=signal.sigwait, args=([signal.SIGUSR1],), daemon=True).start()
open("up.new", "w").write("up\\n")
os.rename("up.new", "up")
signal.pause()
"""
    tree = plant(tmp_path, *python(code), cgroup=backend.cgroup)
    try:
        tree.wait_for("up")
        sampler = backend.make(start=False)
        handle = backend.open(sampler, tree)
        sampler.look()
        reading = sampler.read(handle)
        assert (reading.process_count, reading.thread_count) == (2, 5)
    finally:
        tree.close()
