"""Recurring schedules on real daemons: due times, restarts, kills and refusals."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from typing import Any

import grpc
import pytest

from tests.daemon import Daemon
from tests.integration.helpers import failure_of
from tests.waiting import wait_until

TRUE = {"command": {"argv": ["true"]}}


def found(daemon: Daemon, name: str) -> Any:
    return daemon.calls.GetSchedule(name=name).schedule


def runs(daemon: Daemon, name: str) -> list[str]:
    """The due time of each task of the schedule."""
    tasks = daemon.calls.ListTasks(tags={"taskmeter.schedule": name}, page_size=1000).tasks
    return [task.tags["taskmeter.due"] for task in tasks]


def more_runs(daemon: Daemon, name: str, count: int) -> bool:
    return len(runs(daemon, name)) > count


def test_every_once_pause_run_now_and_delete(daemon: Daemon) -> None:
    calls = daemon.calls
    calls.PutSchedule(name="e", spec=TRUE, timing={"every_seconds": 1.0, "max_run_count": 2})
    calls.PutSchedule(name="o", spec=TRUE, timing={"at_time": time.time() - 5})
    wait_until(lambda: (found(daemon, "e").run_count, found(daemon, "e").next_time) == (2, 0), "two runs")
    wait_until(lambda: (found(daemon, "o").run_count, found(daemon, "o").next_time) == (1, 0), "one run")
    assert len(set(runs(daemon, "e"))) == len(runs(daemon, "e")) == 2
    assert calls.PauseSchedule(name="e").schedule.paused
    assert calls.RunSchedule(name="e").schedule.last_token
    assert len(runs(daemon, "e")) == 3
    calls.DeleteSchedule(name="e")
    failure = failure_of(calls.GetSchedule, name="e")
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "SCHEDULE_NOT_FOUND")


def test_g2_no_due_time_runs_twice_over_kills_even_when_its_task_has_failed(daemon: Daemon) -> None:
    daemon.calls.PutSchedule(
        name="k", spec={"command": {"argv": ["false"]}}, timing={"every_seconds": 1.0, "missed_runs": 3, "max_missed_count": 100}
    )
    for _ in range(3):
        wait_until(partial(more_runs, daemon, "k", len(runs(daemon, "k"))), "one more run")
        daemon.kill9()
        daemon.restart()
    daemon.calls.PauseSchedule(name="k")
    dues = sorted(float(run.split(":")[1]) for run in runs(daemon, "k"))
    assert len(dues) == len(set(dues)) == found(daemon, "k").run_count
    assert all(later - earlier == pytest.approx(1.0, abs=0.01) for earlier, later in pairwise(dues))


def test_a_refusal_is_shown_and_a_live_run_is_not_overlapped(daemon: Daemon) -> None:
    calls = daemon.calls
    calls.PutQueue(name="q", max_size=1)
    calls.PauseQueue(name="q")
    calls.StartTask(spec={**TRUE, "queue": "q"})
    calls.PutSchedule(name="full", spec={**TRUE, "queue": "q"}, timing={"every_seconds": 1.0})
    sleep = {"command": {"argv": ["sleep", "600"]}}
    calls.PutSchedule(name="long", spec=sleep, timing={"every_seconds": 1.0, "overlap": 2})
    wait_until(lambda: "QUEUE_FULL" in found(daemon, "full").last_problem, "the refusal")
    wait_until(lambda: "has not ended" in found(daemon, "long").last_problem, "the skip")
    assert len(runs(daemon, "long")) == 1
    calls.ResumeQueue(name="q")
    wait_until(lambda: found(daemon, "full").run_count > 0, "its run after the refusal", 30)


@pytest.mark.parametrize(
    ("timing", "field"),
    [
        ({}, "timing"),
        ({"cron": "61 * * * *"}, "timing.cron"),
        ({"cron": "* * *"}, "timing.cron"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "timing.timezone"),
        ({"every_seconds": 0.5}, "timing.every_seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field(shared_daemon: Daemon, timing: dict[str, Any], field: str) -> None:
    failure = failure_of(shared_daemon.calls.PutSchedule, name="bad", spec=TRUE, timing=timing)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert field in [name for name, _ in failure.fields]
