from __future__ import annotations

import io
import re
from collections import deque

import pytest
from rich.console import Console

from taskmeter.cli.meter import HISTORY_COUNT, Meter, sparkline
from taskmeter.cli.summary import print_summary
from taskmeter.client.status import TaskStatus
from taskmeter.v1 import task_pb2
from tests.unit.cli.histories import history

NOW = 1_700_000_100.0


def status(**fields):
    return task_pb2.TaskStatus(token="tk_0123456789abcdefghijkl", name="job", create_time=NOW - 20, **fields)


def running(**fields):
    message = status(state=task_pb2.TASK_STATE_RUNNING, start_time=NOW - 12, **fields)
    message.metrics.cpu_percent = 47.2
    message.metrics.peak_cpu_percent = 98.0
    message.metrics.cpu_cores = 1.87
    message.metrics.memory_bytes = 222 << 20
    message.metrics.peak_memory_bytes = 230 << 20
    message.metrics.process_count = 5
    message.metrics.cpu_time_ns = 10**10
    message.tokens.total = 0.57
    return message


def drawn(message, width=100):
    meter = Meter()
    meter.update(TaskStatus.of(message))
    for step in range(40):
        meter.tick(NOW + step)
    out = io.StringIO()
    Console(file=out, width=width, no_color=True, highlight=False).print(meter.render(NOW, width))
    return out.getvalue()


def test_a_running_task_shows_what_it_uses():
    text = drawn(running())
    for part in (
        "● job  running",
        "0:12",
        "47 %",
        "peak 98 %",
        "1.87 cores",
        "222 MiB",
        "peak 230 MiB",
        "5 processes",
        "0.57 tokens",
    ):
        assert part in text
    assert "█" not in text
    assert "▇" in text or "▆" in text


def test_a_known_total_gives_a_bar_and_an_end_with_its_band():
    text = drawn(running(total_count=3000, completed_count=1200, failed_count=4, rate_count_per_second=98.3,
                         eta_seconds=18.3, eta_low_seconds=15, eta_high_seconds=22))  # fmt: skip
    for part in ("1,204 of 3,000", "40 %", "4 failed", "98.3/s", "ETA 19 s (15 s to 22 s)", "━"):
        assert part in text


def test_an_unknown_total_gives_a_count_and_no_bar():
    text = drawn(running(completed_count=7, completed_size=5 << 20, rate_count_per_second=1.0))
    assert "7 done · 5.00 MiB · 1.00/s" in text
    assert "━" not in text


def test_what_was_not_measured_is_a_dash_and_never_0():
    message = status(state=task_pb2.TASK_STATE_RUNNING, start_time=NOW - 1)
    text = drawn(message)
    assert "peak –" in text
    assert "0 %" not in text


def test_a_waiting_task_says_why():
    text = drawn(status(state=task_pb2.TASK_STATE_NONE, queue_position=3, waiting_reason="all slots are taken"))
    assert "waiting · 3 ahead, all slots are taken" in text
    assert "CPU" not in text


@pytest.mark.parametrize("width", [20, 40, 60, 69, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width):
    message = running(total_count=10, completed_count=5, eta_seconds=5.0, status="busy" * 40)
    assert max(map(len, drawn(message, width).splitlines())) <= width
    assert len(drawn(message, width).splitlines()) == 6


def test_sparklines_leave_gaps_where_nothing_was_measured():
    assert sparkline(deque([0.0, None, 100.0]), None, 3) == "▁ ▇"
    assert sparkline(deque([1.0] * 100), 1.0, HISTORY_COUNT) == "▇" * HISTORY_COUNT
    assert sparkline(deque(), None, 4) == "    "
    assert sparkline(deque([1.0]), None, 0) == ""


def test_control_characters_in_names_and_texts_are_codes():
    text = drawn(running(status="\x1b[2J", current_object="a\nb"))
    assert r"\x1b[2J · a\nb" in text


@pytest.mark.parametrize("full", [False, True])
def test_a_summary_tells_outcome_timeline_use_items_and_cost(full):
    message = running(exit_code=3, exit_message="exited with code 3", total_count=10, completed_count=4)
    message.state, message.completed, message.outcome = task_pb2.TASK_STATE_COMPLETED, True, task_pb2.TASK_OUTCOME_FAILED
    message.end_time = NOW
    message.tags["a"] = "b"
    message.timings.run_seconds = 12.0
    out = io.StringIO()
    print_summary(TaskStatus.of(message), Console(file=out, width=100, no_color=True), full=full)
    text = out.getvalue()
    for part in ("✗ job  failed (code 3)", "exited with code 3", "ran 12.0 s", "10.0 s of one core", "4 of 10", "0.57 tokens"):
        assert part in text
    assert ("a=b" in text) is full


def test_a_meter_can_begin_with_a_past_that_has_a_hole():
    meter = Meter()
    meter.begin(history(*[0.5] * 10, *[None] * 5, *[1.5] * 5))
    meter.update(TaskStatus.of(running()))
    out = io.StringIO()
    Console(file=out, width=140, no_color=True, highlight=False).print(meter.render(NOW, 140))
    line = next(line for line in out.getvalue().splitlines() if "CPU" in line)
    assert re.search(r"([▁-█])\1{9} {5}([▁-█])\2{4}", line)
