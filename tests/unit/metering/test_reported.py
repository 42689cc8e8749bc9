"""What others report about a task is added to what it says itself, while it runs and in the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.report import ReportBlock
from taskmeter.core.ports import MeterSource
from taskmeter.errors import InvalidArgumentError
from taskmeter.metering import LocalMeter
from taskmeter.metering.activity import report_checksum
from taskmeter.metering.reported import REPORT_BYTES, keep_report, read_progress, take_report
from taskmeter.model.report import MOST_COUNT, Report
from taskmeter.model.usage import MemorySource, MetricsSource, Progress, Tariff
from taskmeter.v1 import task_pb2, usage_pb2
from tests.waiting import wait_until

PRICED = Tariff("priced", 1, custom={"rows": 2.0})


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "task").mkdir()
    return str(tmp_path)


@pytest.fixture
def meter() -> Iterator[LocalMeter]:
    made = LocalMeter(hz=20.0)
    yield made
    made.close()


def put(directory: str, report: Report) -> None:
    keep_report(directory, take_report(directory, report))


def test_reports_add_up_and_totals_and_texts_are_replaced(directory: str) -> None:
    put(directory, Report(total_count=10, completed_count=2, completed_size=5, status="a", custom={"rows": 1}))
    put(directory, Report(total_count=4, failed_count=1, failed_size=7, current_object="b", ready=True, custom={"rows": 2}))
    assert read_progress(directory) == Progress(4, 2, 1, 0, 5, 7, "a", "b", ready=True, custom={"rows": 3})
    put(directory, Report(status="", total_size=0))
    assert (read_progress(directory).status, read_progress(directory).current_object) == ("", "b")


def test_what_the_task_says_itself_is_added(directory: str) -> None:
    block = ReportBlock(f"{directory}/task/report")
    block.progress(total=3)
    block.add(1, 10)
    block.count("rows", 5)
    block.status("own").object("own object")
    put(directory, Report(total_count=4, completed_count=2, status="theirs", custom={"rows": 1, "more": 1}))
    assert read_progress(directory) == Progress(
        total_count=7,
        completed_count=3,
        completed_size=10,
        status="theirs",
        current_object="own object",
        custom={"rows": 6, "more": 1},
    )


@pytest.mark.parametrize("name", ["completed_count", "completed_size", "failed_count", "failed_size"])
def test_what_would_be_too_much_is_refused_and_changes_nothing(directory: str, name: str) -> None:
    put(directory, Report(**{name: MOST_COUNT - 1}))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as caught:
        put(directory, Report(**{name: 2}))  # type: ignore[arg-type]
    assert caught.value.fields[0][0] == f"add_{name}"
    put(directory, Report(**{name: 1}))  # type: ignore[arg-type]
    assert getattr(read_progress(directory), name) == MOST_COUNT
    getattr(ReportBlock(f"{directory}/task/report"), "add" if name.startswith("completed") else "fail")(5, 5)
    assert getattr(read_progress(directory), name) == MOST_COUNT


def test_the_17th_counter_is_refused_and_so_is_one_that_is_too_large(directory: str) -> None:
    put(directory, Report(custom={f"c{n}": 1 for n in range(16)}))
    with pytest.raises(InvalidArgumentError) as caught:
        put(directory, Report(custom={"c0": 1, "one more": 1}))
    assert caught.value.fields[0][0] == "add_custom['one more']"
    with pytest.raises(InvalidArgumentError) as caught:
        put(directory, Report(custom={"c0": MOST_COUNT}))
    assert caught.value.fields[0][0] == "add_custom['c0']"
    assert read_progress(directory).custom["c0"] == 1


@pytest.mark.parametrize("damage", ["short", "zeros", "noise", "negative", "locked"])
def test_a_damaged_block_harms_nobody(directory: str, damage: str) -> None:
    put(directory, Report(completed_count=5))
    path = Path(directory, "reported")
    page = bytearray(path.read_bytes())
    if damage == "negative":
        page[256:264] = b"\xff" * 8
    elif damage == "locked":
        page[896:900] = os.getppid().to_bytes(4, "little")
    else:
        page = bytearray({"short": b"TM", "zeros": bytes(4096), "noise": os.urandom(4096)}[damage])
    path.write_bytes(page)
    put(directory, Report(completed_count=1, status="on"))
    assert read_progress(directory).completed_count == (6 if damage == "locked" else 1)
    assert read_progress(directory).status == "on"
    assert path.stat().st_size == REPORT_BYTES


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_file_is_never_followed(directory: str, kind: str) -> None:
    path = Path(directory, "reported")
    target = Path(directory, "elsewhere")
    {"link": lambda: path.symlink_to(target), "pipe": lambda: os.mkfifo(path), "directory": path.mkdir}[kind]()
    with pytest.raises(OSError):  # noqa: PT011
        put(directory, Report(completed_count=1))
    assert not target.exists()
    assert read_progress(directory) == Progress()


def test_any_report_is_a_sign_of_work_also_one_that_says_nothing(directory: str) -> None:
    assert report_checksum(directory, REPORT_BYTES) == 0
    put(directory, Report())
    first = report_checksum(directory, REPORT_BYTES)

    def changed() -> bool:
        put(directory, Report())
        return report_checksum(directory, REPORT_BYTES) != first

    wait_until(changed, "another sign, as soon as the clock of the file system has moved")


def test_a_task_that_sleeps_shows_what_others_report_about_it(meter: LocalMeter, directory: str) -> None:
    source = MeterSource(os.getppid(), os.getpid(), directory)
    own = ReportBlock(f"{directory}/task/report")
    own.add(1)
    own.count("rows", 1)
    own.status("own")
    meter.open("tk_1", source, PRICED, 0, 0)
    meter.keep_report("tk_1", directory, meter.take_report(directory, Report(completed_count=4, ready=True, custom={"rows": 3})))

    def status() -> task_pb2.TaskStatus:
        return task_pb2.TaskStatus.FromString(meter.hot("tk_1"))

    wait_until(lambda: status().completed_count == 5, "the sum of both")
    assert (status().status, status().tokens.custom["rows"]) == ("own", 8.0)
    assert meter.is_ready("tk_1")
    own.add(2)
    meter.keep_report("tk_1", directory, meter.take_report(directory, Report(status="theirs")))
    wait_until(lambda: (status().completed_count, status().status) == (7, "theirs"), "both again")
    usage = meter.settle("tk_1", directory, None, None)
    assert (usage.progress.completed_count, usage.integrals.custom) == (7, {"rows": 4})


def test_what_was_reported_before_the_meter_was_opened_is_shown_at_once(meter: LocalMeter, directory: str) -> None:
    put(directory, Report(completed_count=4, status="busy"))
    meter.open("tk_1", MeterSource(os.getppid(), os.getpid(), directory), PRICED, 9, 0)
    status = task_pb2.TaskStatus.FromString(meter.hot("tk_1"))
    assert (status.completed_count, status.total_count, status.status) == (4, 9, "busy")


def test_external_work_has_counters_and_no_figures(meter: LocalMeter, directory: str) -> None:
    meter.open("tk_1", MeterSource(0, 0, directory, external=True), PRICED, 100, 0)

    def status() -> task_pb2.TaskStatus:
        return task_pb2.TaskStatus.FromString(meter.hot("tk_1"))

    assert status().metrics.source == usage_pb2.METRICS_SOURCE_EXTERNAL
    assert status().metrics.memory_source == usage_pb2.MEMORY_SOURCE_EXTERNAL
    for _ in range(3):
        meter.keep_report("tk_1", directory, meter.take_report(directory, Report(completed_count=10)))
        before = status().completed_count
        wait_until(lambda: status().completed_count > before, "what was reported")  # noqa: B023
    assert status().rate_count_per_second > 0
    found = status().metrics
    assert (found.process_count, found.cpu_time_ns, found.memory_bytes) == (0, 0, 0)
    assert not any(found.HasField(name) for name in ("io_read_bytes", "pss_bytes", "gpu_memory_mb", "open_file_count"))
    usage = meter.settle("tk_1", directory, None, None)
    assert (usage.metrics.source, usage.metrics.memory_source) == (MetricsSource.EXTERNAL, MemorySource.EXTERNAL)
    assert usage.progress.completed_count == 30
    assert (usage.integrals.cpu_ns, usage.integrals.memory_byte_ns2) == (0, 0)
