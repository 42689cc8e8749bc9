"""The log of a task's work as text: a time for each line, and where each attempt began."""

from __future__ import annotations

from taskmeter.model.item import LogLine
from taskmeter.rpc.convert.log_lines import MOST_BYTES, MOST_LOGS, log_lines


def test_each_attempt_begins_with_a_line() -> None:
    lines = [LogLine(0.0, 0, "a"), LogLine(1.9, 0, "b"), LogLine(86400.0, 2, "c")]
    assert log_lines(lines, 3) == [
        "1970-01-01T00:00:00 a",
        "1970-01-01T00:00:01 b",
        "--- Retry 1 ---",
        "--- Retry 2 ---",
        "1970-01-02T00:00:00 c",
        "--- Retry 3 ---",
    ]
    assert log_lines([], 0) == []
    assert log_lines([], 1) == ["--- Retry 1 ---"]


def test_where_older_lines_are_gone_nobody_says_where_they_began() -> None:
    assert log_lines([LogLine(0.0, 5, "x")] * MOST_LOGS, 5)[0] == "1970-01-01T00:00:00 x"


def test_a_late_line_of_an_earlier_attempt_begins_no_attempt() -> None:
    assert log_lines([LogLine(0.0, 1, "x"), LogLine(0.0, 0, "late")], 1) == [
        "--- Retry 1 ---",
        "1970-01-01T00:00:00 x",
        "1970-01-01T00:00:00 late",
    ]


def test_the_lines_fit_into_an_answer_however_many_attempts_and_however_long() -> None:
    assert len(log_lines([LogLine(0.0, 0, "x")], 1_000_000)) == MOST_LOGS
    long = log_lines([LogLine(0.0, 0, "ü" * 2000)] * MOST_LOGS, 0)
    assert sum(len(line.encode()) for line in long) <= MOST_BYTES < sum(len(line.encode()) for line in long) + 5000
