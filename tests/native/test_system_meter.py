"""The machine as a whole, against psutil, and against a doctored /proc where the answer is known."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from metercore import SystemMeter
from tests.waiting import wait_until

STAT = """cpu  100 0 100 800 0 0 0 0 0 0
cpu0 50 0 50 400 0 0 0 0 0 0
cpu2 50 0 50 400 0 0 0 0 0 0
intr 5 0 0
ctxt 7
"""
LATER = """cpu  130 10 120 990 40 5 3 2 99 99
cpu0 80 10 70 490 40 5 3 2 99 99
cpu2 50 0 50 500 0 0 0 0 0 0
intr 6 0 0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "stat").write_text(STAT)
    return tmp_path


def test_memory_swap_load_and_counts_are_those_of_psutil() -> None:
    reading = SystemMeter().sample()
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    assert reading.memory_total_bytes == memory.total
    assert reading.memory_available_bytes == pytest.approx(memory.available, rel=0.1)
    assert reading.memory_used_bytes == pytest.approx(memory.total - memory.available, abs=0.1 * memory.total)
    assert reading.swap_total_bytes == swap.total
    assert reading.swap_used_bytes == pytest.approx(swap.used, abs=0.1 * swap.total)
    assert reading.online_count == psutil.cpu_count()
    assert reading.load_15_minutes == pytest.approx(psutil.getloadavg()[2], abs=1.0)
    assert reading.process_count is not None
    assert reading.process_count == pytest.approx(len(psutil.pids()), rel=0.2, abs=20)
    assert reading.thread_count is not None
    assert reading.thread_count >= 1


def test_cpu_use_is_that_of_the_time_since_the_last_sample() -> None:
    meter = SystemMeter()
    before = psutil.cpu_times()
    meter.sample()

    def grown() -> float:
        return sum(psutil.cpu_times()[:8]) - sum(before[:8])

    wait_until(lambda: grown() > 1.0, "a second of processor time has gone by")
    reading = meter.sample()
    after = psutil.cpu_times()
    unused = after.idle + after.iowait - before.idle - before.iowait
    assert reading.cpu_percent is not None
    assert reading.cpu_percent == pytest.approx(100 * (1 - unused / grown()), abs=10)
    assert reading.cpu_cores == pytest.approx(reading.cpu_percent / 100 * (reading.online_count or 0))
    assert len(reading.cpu_percent_by_processor) == psutil.cpu_count()


def test_pressure_is_what_the_kernel_says_where_it_keeps_any() -> None:
    try:
        Path("/proc/pressure/cpu").read_text()
    except OSError:
        assert SystemMeter().sample().cpu_pressure_percent is None
        return

    def both() -> bool:
        before = Path("/proc/pressure/cpu").read_text()
        percent = SystemMeter().sample().cpu_pressure_percent
        if Path("/proc/pressure/cpu").read_text().split()[1] != before.split()[1]:
            return False  # it is brought up to date every two seconds
        assert percent == pytest.approx(float(before.split()[1].removeprefix("avg10=")))
        return True

    wait_until(both, "it stands still while both are read")


def test_idle_and_waiting_for_storage_are_not_use_and_guests_are_not_counted_twice(proc: Path) -> None:
    meter = SystemMeter(proc=str(proc))
    (proc / "stat").write_text(LATER)
    reading = meter.sample()
    assert reading.cpu_percent == pytest.approx(100 * 70 / 300)
    assert reading.cpu_cores == pytest.approx(2 * 70 / 300)
    assert reading.online_count == 2
    assert reading.cpu_percent_by_processor == pytest.approx({0: 100 * 70 / 200, 2: 0.0})


def test_a_time_that_is_counted_down_is_nothing(proc: Path) -> None:
    meter = SystemMeter(proc=str(proc))
    (proc / "stat").write_text("cpu  110 0 100 500 90 0 0 0\n")
    assert meter.sample().cpu_percent == pytest.approx(10.0)


def test_while_no_tick_has_passed_use_is_not_known(proc: Path) -> None:
    reading = SystemMeter(proc=str(proc)).sample()
    assert (reading.cpu_percent, reading.cpu_cores, reading.cpu_percent_by_processor) == (None, None, {})
    assert reading.online_count == 2


def test_a_processor_that_was_offline_is_known_again_after_two_samples(proc: Path) -> None:
    meter = SystemMeter(proc=str(proc))
    (proc / "stat").write_text("cpu  130 0 120 990 0 0 0 0\ncpu0 80 0 70 490 0 0 0 0\n")
    assert meter.sample().cpu_percent_by_processor.keys() == {0}
    (proc / "stat").write_text("cpu  150 0 120 999 0 0 0 0\ncpu0 90 0 70 495 0 0 0 0\ncpu2 60 0 50 404 0 0 0 0\n")
    assert meter.sample().cpu_percent_by_processor.keys() == {0}
    (proc / "stat").write_text("cpu  170 0 120 999 0 0 0 0\ncpu0 90 0 70 500 0 0 0 0\ncpu2 80 0 50 404 0 0 0 0\n")
    assert meter.sample().cpu_percent_by_processor == {0: 0.0, 2: 100.0}


def test_what_is_missing_or_garbled_is_none(tmp_path: Path) -> None:
    meter = SystemMeter(proc=str(tmp_path))
    empty = meter.sample()
    assert empty._replace(cpu_percent_by_processor={}) == (None, None, None, {}, *[None] * 13)
    (tmp_path / "pressure").mkdir()
    for name in ("stat", "meminfo", "loadavg", "pressure/cpu"):
        for text in (b"", b"\0" * 50, b"cpu\n", b"cpu x\ncpu99999 1 2 3 4\ncpu", b"MemTotal: x\n", b"some avg10=x", b"1 2 3"):
            (tmp_path / name).write_bytes(text)
            assert meter.sample() == empty
        (tmp_path / name).unlink()
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 50 kB\n")
    reading = meter.sample()
    assert (reading.memory_total_bytes, reading.memory_available_bytes, reading.memory_used_bytes) == (102400, None, None)
    (tmp_path / "loadavg").write_text("0.05 12.50 3.99 2/345 6789\n")
    reading = meter.sample()
    assert (reading.load_1_minute, reading.load_5_minutes, reading.load_15_minutes) == (0.05, 12.5, 3.99)
    assert reading.thread_count == 345


def test_a_proc_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SystemMeter(proc=str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        SystemMeter(proc=str(tmp_path / "file"))
