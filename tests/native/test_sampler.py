"""The sampler on real trees: by cgroup and by process, against what the kernel counted."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from metercore import descriptors
from metercore.meterpage import read_meter
from metercore.reading import Reading
from metercore.report import ReportBlock
from metercore.sampler import Sampler
from metercore.tariff import Tariff
from taskmeter.model.usage import MemorySource, MetricsSource
from taskmeter.v1 import task_pb2
from tests.native.conftest import Plant
from tests.native.test_settle import page_slot
from tests.native.trees import MIB, Tree, python, reading_when
from tests.waiting import wait_until

SAY = """
import os
def say(name, text=""):
    with open(name + ".new", "w") as file: file.write(str(text) + "\\n")
    os.rename(name + ".new", name)
"""
CHILDREN = (
    SAY
    + """
import json, resource, signal, sys, time
count, seconds = {count}, {seconds}
for _ in range(count):
    pid = os.fork()
    if pid == 0:
        begin = time.process_time()
        while time.process_time() - begin < seconds: pass
        os._exit(0)
    os.waitpid(pid, 0)
total = 0
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    usage = resource.getrusage(who)
    total += usage.ru_utime + usage.ru_stime
say("total", total)
"""
)
IDLE = SAY + "import signal; say('up'); signal.pause()"
BURN = SAY + "say('up')\nwhile True: pass"
SHARED = (
    SAY
    + """
import signal
block = bytearray(b"x") * (200 * 2**20)
for _ in range(4):
    if os.fork() == 0:
        sum(block[::4096])
        say("up%d" % os.getpid())
        signal.pause()
say("up")
signal.pause()
"""
)
WRITER = (
    SAY
    + """
import signal
with open("big", "wb") as file:
    for _ in range(500): file.write(b"x" * 2**20)
    os.fsync(file.fileno())
say("up")
signal.pause()
"""
)
ORPHANS = (
    SAY
    + """
import signal, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            block = bytearray(b"x") * (10 * 2**20)
            say("up%d" % os.getpid())
            signal.pause()
        os._exit(0)
    os.wait()
say("up")
signal.pause()
"""
)


@pytest.fixture
def sampler() -> Sampler:
    """A sampler that ticks when told to."""
    return Sampler(start=False)


def is_cgroup(tree: Tree) -> bool:
    return bool(tree.cgroup_v2)


@pytest.mark.parametrize(("count", "seconds"), [(300, 0.002), (6, 0.2)])
def test_cpu_of_children_that_exit_is_exact_at_the_end(sampler: Sampler, planted: Plant, count: int, seconds: float) -> None:
    tree = planted(*python(CHILDREN.format(count=count, seconds=seconds)))
    handle = tree.open(sampler)
    last = 0

    def ended() -> bool:
        nonlocal last
        sampler.tick()
        now = sampler.read(handle).cpu_ns
        assert now >= last, "a published total never falls"
        last = now
        return tree.shim.poll() is not None

    wait_until(ended, "all children have run", 60)
    gone = tree.gone()
    reaped = gone.reaped_user_ns + gone.reaped_system_ns
    assert last <= 1.01 * max(reaped, gone.cgroup_cpu_ns), "what is published meanwhile is never too high"
    final = sampler.finish(handle, reaped_cpu_ns=reaped, cgroup_cpu_ns=gone.cgroup_cpu_ns)
    truth = json.loads((tree.directory / "task/work/total").read_text())
    assert final.cpu_ns / 1e9 == pytest.approx(truth, rel=0.02, abs=0.005)
    assert final.source == (MetricsSource.CGROUP if is_cgroup(tree) else MetricsSource.RUSAGE)


def test_cpu_agrees_with_psutil_while_it_runs(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(BURN))
    handle = tree.open(sampler)
    process = psutil.Process(tree.main_pid)

    def used() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    reading_when(sampler, handle, lambda now: now.cpu_ns > 5e8, "half a second was burnt")
    before = used()
    sampler.tick()
    now = sampler.read(handle).cpu_ns / 1e9
    assert before - 0.05 <= now <= used() + 0.05


def test_a_burner_uses_one_core_and_an_idler_none(sampler: Sampler, planted: Plant) -> None:
    burner, idler = planted(*python(BURN)), planted(*python(IDLE))
    busy, idle = burner.open(sampler), idler.open(sampler)
    idler.wait_for("up")
    reading_when(sampler, busy, lambda now: now.peak_cpu_percent > 0 and now.cpu_ns > 1e9, "a second was burnt")
    reading = sampler.read(busy)
    online = os.cpu_count() or 1
    assert 0 < reading.cpu_cores <= online
    # One thread: a window cannot hold much more than its own length; 10 % is the kernel's tick over 100 ms.
    assert reading.peak_cpu_percent <= 115 / len(os.sched_getaffinity(0))
    assert reading.peak_cpu_percent >= reading.avg_cpu_percent > 0
    assert reading.peak_cpu_percent >= reading.cpu_percent
    assert sampler.read(idle).cpu_ns < 5e8
    reading_when(sampler, idle, lambda now: now.cpu_cores == 0.0, "the idler is at rest")


def test_percent_is_of_what_the_task_may_use(sampler: Sampler, planted: Plant) -> None:
    cpu = min(os.sched_getaffinity(0))
    tree = planted(*python(f"import os; os.sched_setaffinity(0, [{cpu}])\n" + BURN))
    tree.wait_for("up")
    handle = tree.open(sampler)
    reading = reading_when(sampler, handle, lambda now: now.cpu_cores > 0 and now.cpu_ns > 6e8, "a window was closed")
    assert reading.cpu_percent == pytest.approx(min(100.0, 100 * reading.cpu_cores))
    assert reading.peak_cpu_percent <= 100.0


def test_forks_that_share_memory_are_billed_once(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(SHARED))
    handle = tree.open(sampler)
    peaks = []

    def settled(now: Reading) -> bool:
        peaks.append(now.memory_bytes)
        return now.process_count == 5 and abs(now.memory_bytes / MIB - 225) < 30

    tree.wait_for("up")
    reading = reading_when(sampler, handle, settled, "five processes share 200 MiB")
    reading_when(sampler, handle, lambda now: settled(now) and len(peaks) > 30, "it stays so")
    expected = (
        MemorySource.CGROUP if tree.cgroup_v1_memory or os.path.exists(f"{tree.cgroup_v2}/memory.stat") else MemorySource.PSS
    )
    assert reading.memory_source == expected
    assert max(peaks) < 450 * MIB, "never fivefold"
    assert sampler.read(handle).peak_memory_bytes == max(peaks)


def test_a_cgroup_without_memory_bills_shared_pages_once_too(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(SHARED))
    has_memory = os.path.exists(f"{tree.cgroup_v2}/memory.stat")
    bare = "" if has_memory else tree.cgroup_v2  # with a memory controller: the process tree alone
    handle = sampler.open(tree.shim.pid, tree.main_pid, str(tree.directory), cgroup_v2=bare)
    reading = reading_when(
        sampler,
        handle,
        # Its main process alone, before the others are known, holds as much.
        lambda now: now.memory_source == MemorySource.PSS and now.process_count == 5 and 190 < now.memory_bytes / MIB < 260,
        "five processes share 200 MiB",
    )
    assert reading.pss_bytes == reading.memory_bytes
    assert reading.peak_memory_bytes < 450 * MIB
    assert reading.source == (MetricsSource.CGROUP if bare else MetricsSource.CLOCK)


def test_a_faster_rate_is_no_gap(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    sampler.set_hz(0.1)
    handle = tree.open(sampler)
    sampler.tick(skip_seconds=10)
    sampler.set_hz(20.0)
    sampler.tick(skip_seconds=9)
    assert not sampler.read(handle).gap
    sampler.tick(skip_seconds=9)
    assert sampler.read(handle).gap


def test_without_any_free_descriptor_nothing_is_taken_for_dead(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(BURN))
    handle = tree.open(sampler)
    descriptors.set_limit(0)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    other = Sampler(start=False)
    again = tree.open(other)  # it keeps no descriptor
    before = other.read(again)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(int(name) for name in os.listdir("/proc/self/fd")), limit[1]))
        for _ in range(20):
            other.tick(skip_seconds=0.1)
        during = other.read(again)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        descriptors.set_limit(-1)
    assert during.cpu_ns >= before.cpu_ns
    assert during.process_count == before.process_count
    after = reading_when(other, again, lambda now: now.cpu_ns > during.cpu_ns + 1e8, "it is metered again")
    assert after.process_count == 1
    assert sampler.finish(handle).measured


def test_a_written_file_is_no_memory_but_is_io(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(WRITER))
    handle = tree.open(sampler)
    written = tree.directory / "task" / "work" / "up"
    reading_when(sampler, handle, lambda _: written.exists(), "500 MB are written", 60)
    reading = reading_when(sampler, handle, lambda now: now.io_write_bytes or now.io_write_bytes is None, "io is counted")
    assert reading.peak_memory_bytes < 60 * MIB
    gone = tree.end()
    final = sampler.finish(handle, read_bytes=gone.read_bytes, write_bytes=gone.write_bytes)
    if final.io_write_bytes is not None:
        assert final.io_write_bytes >= 500 * MIB * 0.99
    assert final.peak_memory_bytes < 60 * MIB


def test_orphans_that_left_session_and_parent_are_metered(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(ORPHANS))
    handle = tree.open(sampler)
    reading = reading_when(
        sampler, handle, lambda now: now.process_count == 6 and now.memory_bytes > 50 * MIB, "all six are found"
    )
    assert reading.thread_count == 6
    tree.end()
    assert sampler.finish(handle).process_count == 6, "the counts of the last sample while it lived"


def test_a_single_process_agrees_with_psutil(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python("block = bytearray(b'x') * (50 * 2**20)\n" + IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    reading = sampler.read(handle)
    oracle = psutil.Process(tree.main_pid).memory_full_info().uss
    assert reading.memory_bytes / MIB == pytest.approx(oracle / MIB, abs=5)
    assert reading.process_count == reading.thread_count == 1
    if not is_cgroup(tree):
        assert reading.memory_source == MemorySource.RSS


def test_an_idle_task_does_not_change_but_its_integrals_grow(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    reading_when(sampler, handle, lambda now: now.cpu_cores == 0.0 and now.memory_bytes > 0, "it is at rest")
    for _ in range(3):
        sampler.tick(skip_seconds=0.11)
    before, then = sampler.version(handle), sampler.read(handle)
    for _ in range(31):
        sampler.tick(skip_seconds=0.1)
    assert sampler.version(handle) == before
    now = sampler.read(handle)
    assert now.memory_byte_ns2 - then.memory_byte_ns2 >= 2 * 2 * 10**9 * now.memory_bytes * 0.99
    for _ in range(100):
        sampler.tick(skip_seconds=0.1)
    assert before < sampler.version(handle) <= before + 3, "integrals alone show once in ten seconds"


def test_a_sleeper_that_wakes_is_seen_at_once_in_full(sampler: Sampler, planted: Plant) -> None:
    code = (
        SAY
        + """
import signal, time
def work(*_):
    begin = time.process_time()
    block = bytearray(b"x") * (60 * 2**20)
    while time.process_time() - begin < 0.4: pass
    say("done")
    signal.pause()
signal.signal(signal.SIGUSR1, work)
say("up")
signal.pause()
"""
    )
    tree = planted(*python(code))
    tree.wait_for("up")
    handle = tree.open(sampler)
    reading_when(sampler, handle, lambda now: now.cpu_cores == 0.0 and now.memory_bytes > 0, "it is at rest")
    for _ in range(40):
        sampler.tick(skip_seconds=0.1)
    before = sampler.read(handle)
    signal.pidfd_send_signal(tree.main, signal.SIGUSR1)
    done = tree.directory / "task" / "work" / "done"
    reading_when(sampler, handle, lambda _: done.exists(), "it has worked")
    after = reading_when(sampler, handle, lambda now: now.memory_bytes > 60 * MIB, "its memory is seen")
    assert 0.35e9 < after.cpu_ns - before.cpu_ns < 2e9
    assert after.peak_cpu_percent >= before.peak_cpu_percent
    assert after.memory_byte_ns2 >= before.memory_byte_ns2


def test_memory_integrates_exactly_while_it_is_constant(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python("block = bytearray(b'x') * (100 * 2**20)\n" + IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    sampler.tick(skip_seconds=0.5)
    before = sampler.read(handle)
    for _ in range(100):
        sampler.tick(skip_seconds=0.1)
    after = sampler.read(handle)
    assert after.memory_bytes == before.memory_bytes
    seconds = (after.memory_byte_ns2 - before.memory_byte_ns2) / 2e9 / after.memory_bytes
    assert 9.0 <= seconds < 15.0  # what sleeps is published once a second


def test_a_late_tick_is_a_gap_with_exact_cpu_and_no_peak(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    sampler.tick(skip_seconds=0.2)
    sampler.tick(skip_seconds=0.2)
    before = sampler.read(handle)
    assert not before.gap
    sampler.tick(skip_seconds=60)
    after = sampler.read(handle)
    assert after.gap
    assert after.peak_cpu_percent == before.peak_cpu_percent
    assert after.memory_byte_ns2 - before.memory_byte_ns2 >= 2 * 60 * 10**9 * before.memory_bytes, "held over the hole"
    for _ in range(40):
        sampler.tick(skip_seconds=0.1)
    assert not sampler.read(handle).gap
    assert read_meter(str(tree.directory / "meter"))["had_gap"]
    assert sampler.finish(handle).gap


def test_what_the_work_reports_is_seen_with_rate_and_eta(sampler: Sampler, planted: Plant) -> None:
    native = str(Path(__file__).parents[2] / "native")
    code = f"import sys; sys.path.insert(0, {native!r})\n" + SAY
    code += """
import signal, threading
from metercore.report import ReportBlock
block = ReportBlock(os.environ["TASKMETER_TASK_DIR"] + "/report")
block.progress(total=400, total_size=4 * 10**5).status("working").object("a file")
pause = threading.Event()
say("up")
for n in range(400):
    block.add(1, size=1000)
    if n == 300: block.ready()
    pause.wait(0.01)
signal.pause()
"""
    tree = planted(*python(code))
    handle = tree.open(sampler, total_count=5, total_size=7)
    reading = reading_when(sampler, handle, lambda now: now.eta_seconds is not None, "there is an estimate")
    assert (reading.total_count, reading.total_size) == (400, 4 * 10**5)
    assert (reading.status, reading.current_object) == ("working", "a file")
    assert reading.eta_low_seconds is not None
    assert reading.eta_high_seconds is not None
    assert reading.eta_low_seconds <= (reading.eta_seconds or 0) <= reading.eta_high_seconds
    assert 1 < reading.rate_count_per_second <= 110
    assert reading.rate_size_per_second == pytest.approx(1000 * reading.rate_count_per_second)
    reading = reading_when(sampler, handle, lambda now: now.ready, "it is ready")
    assert sampler.is_ready(handle)
    assert reading.completed_count > 300
    reading = reading_when(sampler, handle, lambda now: now.completed_count == 400, "all is done")
    assert reading.eta_seconds == 0.0
    message = task_pb2.TaskStatus.FromString(sampler.hot(handle))
    assert (message.completed_count, message.completed_size, message.status) == (400, 4 * 10**5, "working")
    assert message.metrics.cpu_time_ns == reading.cpu_ns
    for _ in range(600):
        sampler.tick(skip_seconds=0.1)
    assert sampler.read(handle).rate_count_per_second == 0.0


def test_a_report_that_is_truncated_replaced_or_a_pipe_harms_nobody(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    report = tree.directory / "task" / "report"
    report.write_bytes(os.urandom(4096))
    sampler.tick(skip_seconds=1.1)
    os.truncate(report, 0)
    sampler.tick(skip_seconds=1.1)
    makers: list[Callable[[Path], object]] = [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), os.mkdir]
    for make in makers:
        report.unlink()
        make(report)
        sampler.tick(skip_seconds=1.1)
        other = tree.open(sampler)
        assert sampler.read(other).completed_count == 0
        assert sampler.finish(other).measured
    assert sampler.finish(handle).status == ""


def test_after_the_samplers_death_the_account_goes_on_with_a_held_gap(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python("block = bytearray(b'x') * (50 * 2**20)\nsum(range(10**7))\n" + IDLE))
    tree.wait_for("up")
    handle = tree.open(sampler)
    for _ in range(20):
        sampler.tick(skip_seconds=0.1)
    before = sampler.read(handle)
    sampler.close()
    page = read_meter(str(tree.directory / "meter"))
    assert page["cpu_ns"] == before.cpu_ns
    del sampler

    second = Sampler(start=False)
    second.tick(skip_seconds=30.0)  # its clock is ahead by 30 s in which nobody sampled
    again = tree.open(second)
    now = second.read(again)
    assert now.gap
    assert now.cpu_ns >= before.cpu_ns
    assert now.peak_memory_bytes >= before.peak_memory_bytes
    held = (now.memory_byte_ns2 - before.memory_byte_ns2) / 2e9 / before.memory_bytes
    assert 27.0 < held < 60.0
    reading_when(second, again, lambda now: now.cpu_cores == 0, "it is at rest")
    assert second.read(again).peak_cpu_percent <= before.peak_cpu_percent + 100 / len(os.sched_getaffinity(0))
    gone = tree.end()
    final = second.finish(again, reaped_cpu_ns=gone.reaped_user_ns + gone.reaped_system_ns, cgroup_cpu_ns=gone.cgroup_cpu_ns)
    assert final.gap
    assert final.cpu_ns >= before.cpu_ns
    assert read_meter(str(tree.directory / "meter"))["memory_byte_ns2"] == final.memory_byte_ns2


def test_what_was_billed_under_another_boot_stays_billed(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    page = page_slot(3, cpu_ns=10**15, ns2=2**80, memory=5 * MIB, peak=2**40, realtime_ns=1, samples=9)
    (tree.directory / "meter").write_bytes(page.ljust(4096, b"\0"))
    handle = tree.open(sampler)
    reading = sampler.read(handle)
    assert reading.gap
    assert reading.cpu_ns == 10**15
    assert reading.peak_memory_bytes == 2**40
    assert 2**80 <= reading.memory_byte_ns2 < 2**80 + 2**60
    sampler.finish(handle)
    assert read_meter(str(tree.directory / "meter"))["serial"] > 3


def test_resuming_a_tree_of_busy_children_makes_no_false_peak(planted: Plant) -> None:
    code = SAY + "import signal\nfor _ in range(2):\n  if os.fork() == 0:\n    while True: pass\nsay('up'); signal.pause()"
    tree = planted(*python(code))
    tree.wait_for("up")
    first = Sampler(start=False)
    handle = tree.open(first)
    reading_when(first, handle, lambda now: now.cpu_ns > 1e9, "a second was burnt")
    before = first.read(handle)
    first.close()
    second = Sampler(start=False)
    again = tree.open(second)
    reading = reading_when(second, again, lambda now: now.cpu_ns > before.cpu_ns + 6e8, "it burns on")
    most = 2.3 / len(os.sched_getaffinity(0)) * 100
    assert before.peak_cpu_percent <= reading.peak_cpu_percent <= min(100.0, most)


def test_without_descriptors_to_keep_everything_is_opened_each_time(sampler: Sampler, planted: Plant) -> None:
    before = descriptors.kept_count()
    descriptors.set_limit(0)
    try:
        tree = planted(*python(BURN))
        handle = tree.open(sampler)
        reading = reading_when(sampler, handle, lambda now: now.cpu_ns > 3e8 and now.memory_bytes > 0, "it is metered")
        assert reading.process_count == 1
        assert descriptors.kept_count() == before
        sampler.finish(handle)
    finally:
        descriptors.set_limit(-1)


def test_a_handle_ends_with_its_slot(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    first = tree.open(sampler)
    sampler.finish(first)
    second = tree.open(sampler)
    assert second != first
    for call in (sampler.hot, sampler.version, sampler.is_ready, sampler.read, sampler.finish):
        with pytest.raises(KeyError):
            call(first)
    with pytest.raises(KeyError):
        sampler.set_earlier(0, 1, 1)
    assert sampler.read(second).measured


def test_earlier_attempts_count_in_the_tokens_only(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    handle = tree.open(sampler, tariff=Tariff("gold", 3, per_core_hour=3600.0, per_gib_hour=0.0, custom={"pages": 2.0}))
    ReportBlock(str(tree.directory / "task" / "report")).count("pages", 7)
    sampler.tick(skip_seconds=1.0)
    version = sampler.version(handle)
    sampler.set_earlier(handle, 5 * 10**9, 2**70, gpu_memory_byte_ns2=2**60, gpu_ns=3, custom={"pages": 4, "other": 1})
    assert sampler.version(handle) > version
    message = task_pb2.TaskStatus.FromString(sampler.hot(handle))
    assert message.tokens.cpu_ns == 5 * 10**9 + message.metrics.cpu_time_ns
    assert message.tokens.cpu_utilization == pytest.approx(message.tokens.cpu_ns / 1e9)
    assert message.tokens.memory_byte_seconds >= 2**70 / 2e9
    assert message.tokens.tariff == "gold-3"
    assert message.tokens.gpu_ns == 3
    assert message.tokens.gpu_memory_byte_seconds == 2**60 / 2e9
    assert dict(message.tokens.custom) == {"pages": 22.0}, "what has no price is no tokens"
    with pytest.raises(OverflowError):
        sampler.set_earlier(handle, 0, 2**128)


@pytest.mark.parametrize("hz", [0.0, 0.09, 20.1, float("nan")])
def test_a_rate_is_0_1_to_20_hz(sampler: Sampler, hz: float) -> None:
    with pytest.raises(ValueError, match="Hz"):
        sampler.set_hz(hz)
    with pytest.raises(ValueError, match="Hz"):
        Sampler(hz)


class TestThread:
    def test_it_ticks_by_itself_and_at_another_rate_when_told(self) -> None:
        sampler = Sampler(20.0)
        try:
            assert sampler.hz == pytest.approx(20.0)
            wait_until(lambda: sampler.stats().tick_count >= 5, "five ticks")
            with pytest.raises(RuntimeError, match="thread"):
                sampler.tick()
            sampler.set_hz(0.1)
            sampler.set_hz(10.0)
            now = sampler.stats().tick_count
            wait_until(lambda: sampler.stats().tick_count >= now + 3, "it goes on")
            assert sampler.stats().thread_cpu_ns > 0
        finally:
            sampler.close()
        ticks = sampler.stats().tick_count
        sampler.start()
        wait_until(lambda: sampler.stats().tick_count > ticks, "it starts again")
        sampler.close()
        sampler.close()

    def test_it_needs_no_gil(self) -> None:
        sampler = Sampler(20.0)
        before = sampler.stats().tick_count
        # One long call that never releases the GIL: an integer of this size takes seconds to print.
        begin = time.monotonic()
        value = 3**200_000
        while time.monotonic() - begin < 1.0:
            hash(value * value)
        assert sampler.stats().tick_count > before
        sampler.close()

    def test_signals_are_not_delivered_to_it(self) -> None:
        sampler = Sampler()
        threads = [Path(f"/proc/self/task/{tid}") for tid in os.listdir("/proc/self/task")]
        named = [thread for thread in threads if (thread / "comm").read_text().strip() == "tm-sampler"]
        assert named
        for thread in named:
            blocked = next(line for line in (thread / "status").read_text().splitlines() if line.startswith("SigBlk"))
            assert int(blocked.split()[1], 16) & (1 << 14)  # SIGTERM is 15
        sampler.close()


def test_the_fallback_is_taken_when_a_cgroup_is_not_there(sampler: Sampler, planted: Plant) -> None:
    tree = planted(*python(IDLE))
    tree.wait_for("up")
    handle = sampler.open(tree.shim.pid, tree.main_pid, str(tree.directory), cgroup_v2="/nonexistent", cgroup_v1_memory="/none")
    assert sampler.read(handle).source == MetricsSource.CLOCK
    assert sampler.read(handle).memory_source == MemorySource.RSS


def test_finishing_what_has_long_gone_is_no_error(sampler: Sampler, planted: Plant) -> None:
    tree = planted("/bin/true")
    tree.gone()
    handle = tree.open(sampler)
    sampler.tick()
    final = sampler.finish(handle, start_time=time.time() - 1, end_time=time.time(), reaped_cpu_ns=10**6, max_rss_bytes=MIB)
    assert final.cpu_ns >= 10**6
    assert final.peak_memory_bytes == MIB


def test_a_sampler_that_could_not_be_made_closes_nobodys_descriptors() -> None:
    # 0 is what a zeroed struct says: a file that is open there stays open.
    code = "import gc, os\nfrom metercore.sampler import Sampler\ntry: Sampler('x')\nexcept TypeError: gc.collect(); os.fstat(0)"
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
