"""The core's meter: open, settle, and settle what was never open, as the core asks for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.report import ReportBlock
from taskmeter.core.ports import Ended, Gone, Meter, MeterSource
from taskmeter.metering import LocalMeter
from taskmeter.model.task import Cause
from taskmeter.model.usage import Integrals, MemorySource, Metrics, MetricsSource, Progress, Tariff, Usage
from taskmeter.v1 import task_pb2
from tests.waiting import wait_until

MIB = 2**20
GOLD = Tariff("gold", 2, 3600.0, 7.0)


@pytest.fixture
def meter() -> Iterator[LocalMeter]:
    """A meter that ticks 20 times a second."""
    made = LocalMeter(hz=20.0)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> MeterSource:
    """This very process as if it were a task's, in an attempt directory of its own."""
    (tmp_path / "task").mkdir()
    return MeterSource(os.getppid(), os.getpid(), str(tmp_path))


def ended_at(start: float, end: float, *, failed_to_start: bool = False) -> Ended:
    return Ended(failed_to_start, 0, 0, core_dumped=False, cause=Cause.NONE, forced=False, start_time=start, end_time=end)


def gone_at(end: float, cpu_ns: int, max_rss_bytes: int = 3 * MIB, cgroup_cpu_ns: int = 0) -> Gone:
    return Gone(end, cpu_ns, cgroup_cpu_ns, max_rss_bytes, 0, 10, 20, 0)


def test_it_is_the_meter_the_core_wants(meter: LocalMeter) -> None:
    port: Meter = meter
    assert port.hot("tk_unknown") == b""
    assert port.version("tk_unknown") == 0
    assert not port.is_open("tk_unknown")
    assert not port.is_ready("tk_unknown")
    port.set_earlier("tk_unknown", Integrals(1, 1))


def test_an_open_attempt_shows_the_spec_until_the_work_says_otherwise(meter: LocalMeter, source: MeterSource) -> None:
    meter.open("tk_1", source, GOLD, 50, 60)
    assert meter.is_open("tk_1")
    status = task_pb2.TaskStatus.FromString(meter.hot("tk_1"))
    assert (status.total_count, status.total_size) == (50, 60)
    assert status.metrics.process_count == 1
    assert status.metrics.memory_bytes > MIB, "the first sample was taken at once"
    assert status.tokens.tariff == "gold-2"
    version = meter.version("tk_1")
    block = ReportBlock(source.directory + "/task/report")
    block.progress(total=100).ready()
    block.add(7)
    wait_until(lambda: meter.is_ready("tk_1"), "readiness is seen")
    status = task_pb2.TaskStatus.FromString(meter.hot("tk_1"))
    assert (status.total_count, status.completed_count) == (100, 7)
    assert meter.version("tk_1") > version
    meter.open("tk_1", source, GOLD, 1, 1)  # again is nothing new
    assert meter.stats().slot_count == 1


def test_settling_an_open_attempt_closes_it_with_everything(meter: LocalMeter, source: MeterSource) -> None:
    now = time.time()
    meter.open("tk_1", source, GOLD, 0, 0)
    meter.set_earlier("tk_1", Integrals(5, 6))
    block = ReportBlock(source.directory + "/task/report")
    block.add(3, size=30)
    block.status("done").object("last")
    block.count("rows", 9)
    used_ns = int(sum(os.times()[:4]) * 1e9) + 10**9  # more than the sample can say, children of other tests included
    usage = meter.settle("tk_1", source.directory, ended_at(now - 2, now), gone_at(now, used_ns))
    assert not meter.is_open("tk_1")
    assert usage.integrals.cpu_ns == usage.metrics.cpu_time_ns == used_ns, "the end knows more than the sample"
    assert usage.progress == Progress(
        completed_count=3, completed_size=30, status="done", current_object="last", custom={"rows": 9}
    )
    assert usage.metrics.peak_memory_bytes >= usage.metrics.memory_bytes > 0
    assert usage.metrics.peak_cpu_percent >= usage.metrics.avg_cpu_percent
    assert usage.metrics.source == MetricsSource.RUSAGE
    assert usage.metrics.io_write_bytes is not None
    again = meter.settle("tk_1", source.directory, ended_at(now - 2, now), gone_at(now, used_ns))
    assert again.integrals == usage.integrals, "settling again, as after a crash in between, bills the same"


def test_an_attempt_never_opened_is_settled_from_its_end(meter: LocalMeter, source: MeterSource) -> None:
    ReportBlock(source.directory + "/task/report").add(2)
    usage = meter.settle("tk_1", source.directory, ended_at(100.0, 100.01), gone_at(100.02, 10**7))
    assert usage.metrics.source == MetricsSource.RUSAGE
    assert usage.metrics.memory_source == MemorySource.RSS
    assert usage.integrals.memory_byte_seconds == pytest.approx(3 * MIB * 0.02 / 2, rel=1e-4)
    assert usage.progress.completed_count == 2
    assert (usage.metrics.io_read_bytes, usage.metrics.io_write_bytes) == (10, 20)


def test_after_a_restart_the_page_alone_is_enough(source: MeterSource) -> None:
    first = LocalMeter(hz=20.0)
    first.open("tk_1", source, GOLD, 0, 0)
    before = task_pb2.TaskStatus.FromString(first.hot("tk_1")).metrics
    first.close()
    second = LocalMeter(hz=20.0)
    now = time.time()
    usage = second.settle("tk_1", source.directory, ended_at(now - 60, now), gone_at(now, 1))
    assert usage.metrics.cpu_time_ns >= before.cpu_time_ns
    assert usage.metrics.peak_memory_bytes >= before.peak_memory_bytes
    second.close()


def test_what_failed_to_start_used_nothing(meter: LocalMeter, source: MeterSource) -> None:
    usage = meter.settle("tk_1", source.directory, ended_at(5.0, 5.0, failed_to_start=True), gone_at(5.0, 10**6))
    assert usage == Usage(Metrics(), Integrals(), Progress())
    assert not os.path.exists(source.directory + "/meter")


def test_what_was_lost_keeps_what_was_sampled(meter: LocalMeter, source: MeterSource) -> None:
    meter.open("tk_1", source, GOLD, 0, 0)
    usage = meter.settle("tk_1", source.directory, None, None)
    assert usage.metrics.cpu_time_ns > 0
    assert usage.metrics.source == MetricsSource.CLOCK
    lost = meter.settle("tk_2", source.directory + "/none", None, None)
    assert lost.metrics.source == MetricsSource.UNSPECIFIED
    assert lost.integrals == Integrals()


def test_a_report_that_is_no_report_is_no_progress(meter: LocalMeter, source: MeterSource) -> None:
    report = Path(source.directory, "task", "report")
    os.mkfifo(report)
    assert meter.settle("tk_1", source.directory, None, None).progress == Progress()
    report.unlink()
    report.mkdir()
    assert meter.settle("tk_1", source.directory, None, None).progress == Progress()
    report.rmdir()
    report.write_bytes(b"x" * 5000)
    assert meter.settle("tk_1", source.directory, None, None).progress == Progress()
