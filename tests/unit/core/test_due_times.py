"""Due times: intervals, one instant, and cron over both changes of daylight saving time in Berlin."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from taskmeter.core.due_times import cron_problem, due_times, next_due, timezone_problem
from taskmeter.model.schedule import Timing

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)
"""02:00 becomes 03:00; 03:00 becomes 02:00."""


def cron(fields: str) -> Timing:
    return Timing(cron=fields, timezone="Europe/Berlin")


def on(timing: Timing, day: datetime) -> list[str]:
    """Return the due times of that day, with their distance from UTC."""
    first = next_due(timing, 0.0, day.timestamp() - 1)
    last = (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=BERLIN).timestamp() - 1
    _, dues = due_times(timing, first, last, 1000)
    return [datetime.fromtimestamp(due, BERLIN).strftime("%H:%M%z") for due in dues]


def test_what_falls_into_the_hour_that_is_left_out_runs_right_after_it_and_once() -> None:
    assert on(cron("30 2 * * *"), SPRING) == ["03:00+0200"]
    assert on(cron("30 1,3 * * *"), SPRING) == ["01:30+0100", "03:30+0200"]
    assert on(cron("0 * * * *"), SPRING)[:4] == ["00:00+0100", "01:00+0100", "03:00+0200", "04:00+0200"]
    assert len(on(cron("*/30 * * * *"), SPRING)) == 46


def test_what_is_fixed_in_the_hour_that_comes_twice_runs_once_and_what_is_not_goes_on() -> None:
    assert on(cron("30 2 * * *"), AUTUMN) == ["02:30+0200"]
    hours = on(cron("0 * * * *"), AUTUMN)
    assert hours[1:5] == ["01:00+0200", "02:00+0200", "02:00+0100", "03:00+0100"]
    assert len(on(cron("*/30 * * * *"), AUTUMN)) == 50


def test_no_due_time_is_left_out_or_repeated_when_each_is_asked_after_the_one_before() -> None:
    for day in (SPRING, AUTUMN):
        for fields in ("30 2 * * *", "*/10 * * * *", "5 * * * *", "0 3 * * *"):
            timing = cron(fields)
            first = next_due(timing, 0.0, day.timestamp() - 3600)
            count, dues = due_times(timing, first, first + 2 * 86400, 1000)
            walked = [first]
            while (due := next_due(timing, walked[-1], walked[-1])) <= first + 2 * 86400:
                walked.append(due)
            assert (walked, count) == (dues, len(dues))
            assert all(earlier < later for earlier, later in pairwise(dues))


def test_intervals_stay_in_step_however_long_nobody_asked() -> None:
    timing = Timing(every_seconds=10.0)
    assert next_due(timing, 100.0, 100.0) == 110.0
    assert next_due(timing, 100.0, 1000009.0) == 1000010.0
    assert due_times(timing, 110.0, 109.0, 5) == (0, [])
    assert due_times(timing, 110.0, 1000110.0, 2) == (100001, [1000100.0, 1000110.0])


def test_once_is_once() -> None:
    timing = Timing(at_time=100.0)
    assert (next_due(timing, 0.0, 99.0), next_due(timing, 100.0, 100.0)) == (100.0, 0.0)
    assert due_times(timing, 100.0, 5000.0, 10) == (1, [100.0])


@pytest.mark.parametrize("fields", ["", "* * * *", "60 * * * *", "* * * * 9", "0 0 30 2 *", "a b c d e", "* * * * * *"])
def test_a_cron_expression_that_cannot_be_meant_is_explained_by_an_example(fields: str) -> None:
    assert "such as '30 2 * * 1-5'" in cron_problem(fields)


def test_what_is_right_has_no_problem() -> None:
    assert [cron_problem(fields) for fields in ("30 2 * * 1-5", "*/5 0-6,22 1 jan mon", "0 0 29 2 *")] == ["", "", ""]
    assert timezone_problem("Europe/Berlin") == ""
    assert all(timezone_problem(name) for name in ("Mars/Olympus", "../etc/passwd", "/etc/passwd"))
