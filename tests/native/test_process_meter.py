"""A meter of one's own, without daemon or shim, against psutil, rusage and what the processes say themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

import metercore
from metercore import ProcessMeter
from metercore.sampler import Sampler
from tests.native.test_attached import STEPS
from tests.native.trees import MIB
from tests.native.users import as_nobody
from tests.targets import Targets, go_on, hear, wait_until_dead
from tests.waiting import wait_until

NOBODY_HAS_THIS_PID = 2**22 + 1  # above the largest pid_max


@pytest.fixture
def targets() -> Iterator[Targets]:
    with Targets() as made:
        yield made


def test_cpu_counts_from_when_the_meter_was_made_and_as_the_process_itself_counts_it(targets: Targets) -> None:
    target = targets.python(STEPS + "burn(0.5); step(); burn(0.5); step()")
    before = float(hear(target))
    with ProcessMeter(target.pid) as meter:
        assert meter.sample().cpu_ns < 0.1e9
        go_on(target)
        used_ns = (float(hear(target)) - before) * 1e9
        assert meter.sample().cpu_ns == pytest.approx(used_ns, rel=0.02)


def test_a_tree_with_threads_children_and_exits_counts_whole_and_once(targets: Targets) -> None:
    code = """
import threading
def work():
    begin = time.thread_time()
    while time.thread_time() - begin < 0.3: pass
step()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
seen, gone = child(0.3), child(0.3)
end(gone)
usage = os.times()
print(usage.user + usage.system + usage.children_user + usage.children_system, flush=True)
sys.stdin.readline()
end(seen)
step()
"""
    target = targets.python(STEPS + code)
    before = float(hear(target))
    with ProcessMeter(target.pid) as meter:
        go_on(target)
        without_seen = float(hear(target)) - before
        reading = meter.sample()
        assert reading.process_count == 2
        # os.times counts in ticks, and the child that lives has used 0.3 s by its own clock.
        assert reading.cpu_ns / 1e9 == pytest.approx(without_seen + 0.3, abs=0.05)
        go_on(target)
        hear(target)
        after = meter.sample()
        assert after.process_count == 1
        assert 0 <= after.cpu_ns - reading.cpu_ns < 0.05e9


def test_what_was_used_before_the_end_is_known_while_nobody_has_waited_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time\nwhile time.process_time() < 0.5: pass"])
    with ProcessMeter(process.pid) as meter:
        wait_until(lambda: not meter.is_running(), "it has ended")
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    assert meter.close().cpu_ns / 1e9 == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.05)


def test_counts_and_memory_are_those_of_psutil(targets: Targets) -> None:
    code = "held = bytearray(b'x') * (30 << 20)\nfor _ in range(3): child(0)\nstep()"
    target = targets.python(STEPS + code)
    hear(target)
    main = psutil.Process(target.pid)
    everybody = [main, *main.children(recursive=True)]
    with ProcessMeter(target.pid, measure_uss=True) as meter:
        reading = meter.sample()
        assert reading.process_count == len(everybody) == 4
        assert reading.thread_count == sum(process.num_threads() for process in everybody)
        assert reading.open_file_count == sum(process.num_fds() for process in everybody)
        full = [process.memory_full_info() for process in everybody]
        # psutil's PSS is with the files that are mapped: the interpreter and its libraries.
        assert 30 * MIB < reading.memory_bytes <= sum(one.pss for one in full) + MIB
        assert reading.uss_bytes == pytest.approx(sum(one.uss for one in full), abs=MIB)
        switches = sum(sum(process.num_ctx_switches()) for process in everybody)
        assert reading.voluntary_switch_count is not None
        assert reading.involuntary_switch_count is not None
        assert 0 < reading.voluntary_switch_count + reading.involuntary_switch_count <= switches
        io = sum(process.io_counters().write_bytes for process in everybody)
        assert reading.io_write_bytes is not None
        assert reading.io_write_bytes <= io


def test_more_newcomers_than_are_measured_at_a_time_are_all_in_the_first_sample(targets: Targets) -> None:
    code = """
for _ in range(70):
    if os.fork() == 0:
        held = bytearray(b'x') * (1 << 20)
        os.write(1, b"up\\n")
        sys.stdin.readline()
        os._exit(0)
time.sleep(600)
"""
    target = targets.python(STEPS + code)
    for _ in range(70):
        assert hear(target) == "up"
    with ProcessMeter(target.pid) as meter:
        reading = meter.sample()
        assert reading.process_count == 71
        assert reading.memory_bytes > 70 * MIB


def test_descendants_can_be_left_out(targets: Targets) -> None:
    target = targets.python(STEPS + "child(0.3); step()")
    hear(target)
    with ProcessMeter(target.pid, include_descendants=False) as meter:
        assert meter.sample().process_count == 1


def test_an_orphan_that_was_seen_stays_in_the_tree(targets: Targets) -> None:
    target = targets.shell("sleep 600 & echo $!; read -r _")
    orphan = int(hear(target))
    with ProcessMeter(target.pid) as meter:
        assert meter.sample().process_count == 2
        go_on(target)
        target.wait()
        assert not meter.is_running()
        assert meter.sample().process_count == 1
        os.kill(orphan, 9)
        wait_until_dead(orphan)
        with pytest.raises(ProcessLookupError):
            meter.sample()


def test_its_own_thread_sees_peaks_between_samples(targets: Targets) -> None:
    target = targets.python(STEPS + "step(); held = bytearray(b'x') * (60 << 20); burn(0.5); step(); del held; burn(0.5); step()")
    hear(target)
    with ProcessMeter(target.pid, hz=20.0) as meter:
        go_on(target)
        hear(target)
        wait_until(lambda: meter.sample().peak_memory_bytes > 60 * MIB, "its peak is seen")
        go_on(target)
        hear(target)
        wait_until(lambda: meter.sample().memory_bytes < 50 * MIB, "it has given it back")
        reading = meter.sample()
        assert reading.peak_memory_bytes > 60 * MIB
        assert reading.interval_seconds == 0.05
        assert reading.cpu_ns > 0.9e9


def test_a_long_time_between_two_samples_is_no_gap(targets: Targets) -> None:
    target = targets.python(STEPS + "step(); burn(1); step(); burn(1); step()")
    hear(target)
    sampler = Sampler(20.0, start=False)
    handle = sampler.open(0, target.pid, attached=True)
    go_on(target)
    hear(target)
    sampler.look()
    assert not sampler.read(handle).gap
    assert sampler.read(handle).peak_cpu_percent > 0.0
    go_on(target)
    hear(target)
    sampler.tick()
    assert sampler.read(handle).gap, "who ticks 20 times a second has missed some"


def test_a_sampler_without_directory_keeps_no_history_and_looks_only_without_a_thread() -> None:
    sampler = Sampler(20.0, start=False)
    handle = sampler.open(0, os.getpid(), attached=True)
    sampler.look()
    with pytest.raises(ValueError, match="no history"):
        sampler.history(handle)
    assert not sampler.is_empty(handle)
    sampler.start()
    with pytest.raises(RuntimeError, match="thread"):
        sampler.look()
    sampler.close()
    assert sampler.finish(handle).process_count == 1
    with pytest.raises(KeyError):
        sampler.is_empty(handle)


def test_watching_ends_with_the_process(targets: Targets) -> None:
    target = targets.python(STEPS + "step()")
    hear(target)
    meter = ProcessMeter(target.pid)
    found = []
    for reading in meter.watch(0.05):
        found.append(reading.cpu_ns)
        if len(found) == 3:
            go_on(target)
    assert len(found) > 3
    assert found == sorted(found)
    assert not meter.is_running()
    with pytest.raises(ProcessLookupError):
        meter.sample()
    target.wait()
    with pytest.raises(ProcessLookupError):
        next(iter(meter.watch()))
    final = meter.close()
    assert final is meter.close()
    assert final.cpu_ns >= found[-1]
    for use in (meter.sample, lambda: meter.backend, lambda: next(iter(meter.watch()))):
        with pytest.raises((ValueError, ProcessLookupError)):
            use()


def test_an_interval_that_is_none_is_refused() -> None:
    with ProcessMeter(os.getpid()) as meter:
        for interval in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="interval"):
                meter.watch(interval)


def test_who_does_not_run_cannot_be_metered(targets: Targets) -> None:
    with pytest.raises(ProcessLookupError):
        ProcessMeter(NOBODY_HAS_THIS_PID)
    for pid in (0, -1):
        with pytest.raises(ValueError, match="pid"):
            ProcessMeter(pid)
    process = subprocess.Popen(["true"])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it is a zombie")
    with pytest.raises(ProcessLookupError, match="ended"):
        ProcessMeter(process.pid)
    process.wait()
    with pytest.raises(ProcessLookupError):
        ProcessMeter(process.pid)
    with pytest.raises(ValueError, match="back end"):
        ProcessMeter(os.getpid(), backend="magic")
    with pytest.raises(ValueError, match="sampling rate"):
        ProcessMeter(os.getpid(), hz=1000.0)


@pytest.mark.root
def test_what_an_ordinary_user_may_not_read_is_absent_and_the_rest_is_measured(targets: Targets) -> None:
    target = targets.python(STEPS + "held = bytearray(b'x') * (30 << 20); child(0); step(); burn(0.3); step()")
    hear(target)

    def meter() -> None:
        with ProcessMeter(target.pid) as meter:
            reading = meter.sample()
            assert reading.process_count == 2
            assert (reading.io_write_bytes, reading.pss_bytes) == (None, None)
            # Shares cannot be read, so what both share counts twice.
            assert reading.memory_bytes > 60 * MIB
            go_on(target)
            wait_until(lambda: meter.sample().cpu_ns > 0.29e9, "its CPU is seen")

    as_nobody(meter)


@pytest.mark.parametrize("backend", ["clock", "procfs"])
def test_a_back_end_can_be_forced(targets: Targets, backend: str) -> None:
    target = targets.python(STEPS + "step(); burn(0.5); step()")
    before = float(hear(target))
    with ProcessMeter(target.pid, backend=backend) as meter:
        assert meter.backend == backend
        go_on(target)
        used = float(hear(target)) - before
        assert meter.sample().cpu_ns / 1e9 == pytest.approx(used, abs=0.03)


def test_several_threads_may_ask(targets: Targets) -> None:
    target = targets.python(STEPS + "child(0); step()")
    hear(target)
    meter = ProcessMeter(target.pid)
    counts: list[int] = []

    def ask() -> None:
        counts.extend(meter.sample().process_count for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.close()
    assert counts == [2] * 200


def test_everything_public_is_found_by_its_name_and_loads_late() -> None:
    for name in metercore.__all__:
        assert getattr(metercore, name).__name__ == name
        assert name in dir(metercore)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = metercore.Nothing  # type: ignore[attr-defined]
    code = "import sys; before = set(sys.modules); import metercore; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert [name for name in loaded if not name.startswith("__editable__")] == ["metercore"]


def test_neither_grpc_nor_the_daemon_is_loaded() -> None:
    code = """
import os, sys, metercore
metercore.ProcessMeter(os.getpid()).sample()
metercore.SystemMeter().sample()
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"taskmeter", "grpc", "google", "psutil", "asyncio"}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
