"""Recurring schedules on real daemons: due times, restarts, kills and refusals."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.daemon import Daemon, clean_environment
from tests.integration.helpers import end_of, failure_of
from tests.integration.test_encryption import SECRET, holders, key_file, new_key
from tests.waiting import wait_until

TRUE = {"command": {"argv": ["true"]}}


def found(daemon: Daemon, name: str) -> Any:
    return daemon.calls.GetSchedule(name=name).schedule


def runs(daemon: Daemon, name: str) -> list[str]:
    """The due time of each task of the schedule."""
    tasks = daemon.calls.ListTasks(tags={"taskmeter.schedule": name}, page_size=1000).tasks
    return [task.tags["taskmeter.due"] for task in tasks]


def edit(daemon: Daemon, name: str, **changed: Any) -> None:
    """Change a schedule in the database of a daemon that is down."""
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        (text,) = database.execute("SELECT detail FROM schedules WHERE name = ?", (name,)).fetchone()
        database.execute("UPDATE schedules SET detail = ? WHERE name = ?", (json.dumps({**json.loads(text), **changed}), name))
    database.close()


def move_due(daemon: Daemon, due: float, *names: str) -> None:
    """Have the next due time of these schedules be `due`, as if the daemon had been away since."""
    daemon.stop()
    for name in names:
        edit(daemon, name, next_time=due)
    daemon.start()


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
        ({"every_seconds": 1.0, "timezone": "Europe/Berlin"}, "timing.timezone"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field(shared_daemon: Daemon, timing: dict[str, Any], field: str) -> None:
    failure = failure_of(shared_daemon.calls.PutSchedule, name="bad", spec=TRUE, timing=timing)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert field in failure.fields


def test_what_the_schedule_cannot_hold_is_refused_by_field(shared_daemon: Daemon) -> None:
    many = {str(number): "" for number in range(63)}
    large = {"command": {"argv": ["true", *("x" * 100_000 for _ in range(2))]}}
    for spec, field in (({**TRUE, "tags": many}, "spec.tags"), (large, "spec"), ({"attach": {"pid": 1}}, "spec.attach")):
        failure = failure_of(shared_daemon.calls.PutSchedule, name="bad", spec=spec, timing={"every_seconds": 1.0})
        assert field in failure.fields


def test_what_is_missed_while_the_daemon_is_away_follows_the_policy(daemon: Daemon) -> None:
    calls = daemon.calls
    for name, policy in (("newest", 1), ("none", 2), ("all", 3)):
        timing = {"every_seconds": 3600.0, "missed_runs": policy, "max_missed_count": 2}
        calls.PutSchedule(name=name, spec=TRUE, timing=timing)
    away = time.time() - 9000  # three due times ago, the last one half an hour
    move_due(daemon, away, "newest", "none", "all")
    expected = {"newest": (1, "missed 2 due times"), "none": (0, "missed 3 due times"), "all": (2, "missed 1 due time")}
    for name, outcome in expected.items():
        settled = wait_until(lambda name=name: (now := found(daemon, name)).next_time > time.time() and now, name)  # type: ignore[misc]
        assert (settled.run_count, settled.last_problem) == outcome
        assert settled.next_time == pytest.approx(away + 3 * 3600, abs=0.01)
        assert len(runs(daemon, name)) == settled.run_count


def test_g2_a_kill_between_the_task_and_its_settlement_neither_loses_nor_repeats_it(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(env={"TASKMETER_FAILPOINTS": "submit.after_commit=crash*1"}).start()
    daemon.calls.PutSchedule(name="once", spec={"command": {"argv": ["false"]}}, timing={"at_time": 1.0})
    assert daemon.process is not None
    assert daemon.process.stdout is not None
    daemon.process.wait(20)
    daemon.process.stdout.close()
    edit(daemon, "once", paused=True)  # so that its task ends, and its idempotency key is free, before anybody looks
    daemon.env = clean_environment()
    daemon.start()
    assert (found(daemon, "once").run_count, len(runs(daemon, "once"))) == (0, 1)
    [task] = daemon.calls.ListTasks(tags={"taskmeter.schedule": "once"}).tasks
    assert end_of(daemon.calls, task.token).exit_code == 1
    daemon.calls.ResumeSchedule(name="once")
    settled = wait_until(lambda: (now := found(daemon, "once")).run_count and now, "its settlement")
    assert (settled.next_time, settled.run_count, settled.last_token) == (0, 1, task.token)
    daemon.restart()
    assert len(runs(daemon, "once")) == found(daemon, "once").run_count == 1


def test_a_draining_daemon_starts_nothing(daemon: Daemon) -> None:
    calls = daemon.calls
    calls.PutSchedule(name="d", spec=TRUE, timing={"every_seconds": 1.0})
    wait_until(partial(more_runs, daemon, "d", 0), "a run")
    calls.Drain()
    before = runs(daemon, "d")
    failure = failure_of(calls.RunSchedule, name="d")
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    due = found(daemon, "d").next_time
    wait_until(lambda: time.time() > due + 1.5, "the time of two more runs")
    assert (runs(daemon, "d"), found(daemon, "d").next_time) == (before, due)


def test_an_auto_started_daemon_stays_as_long_as_a_schedule_goes_on(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--auto", env={"TASKMETER_AUTO_EXIT_SECONDS": "1"}).start()
    daemon.calls.PutSchedule(name="a", spec=TRUE, timing={"every_seconds": 3600.0})
    idle_since = time.monotonic()
    wait_until(lambda: time.monotonic() > idle_since + 3, "three times its patience")
    assert daemon.process is not None
    assert daemon.process.poll() is None
    daemon.calls.PauseSchedule(name="a")
    assert daemon.process.wait(20) == 0
    assert daemon.process.stdout is not None
    daemon.process.stdout.close()


def test_a_schedule_whose_key_is_revoked_is_paused_until_another_key_resumes_it(daemon: Daemon) -> None:
    calls = daemon.calls
    old, new = (calls.CreateKey(tenant="acme", scopes=["submit", "read", "control"]) for _ in range(2))
    calls.PutSchedule(name="s", spec=TRUE, timing={"every_seconds": 1.0}, key=old.secret)
    calls.RevokeKey(key_id=old.key.key_id)

    def now() -> Any:
        return calls.GetSchedule(name="s", key=new.secret).schedule

    wait_until(lambda: now().paused, "the pause")
    assert "revoked" in now().last_problem
    count = now().run_count
    daemon.restart()
    calls = daemon.calls
    assert (now().paused, now().run_count, now().key_id) == (True, count, old.key.key_id)
    resumed = calls.ResumeSchedule(name="s", key=new.secret).schedule
    assert (resumed.paused, resumed.last_problem, resumed.key_id) == (False, "", new.key.key_id)
    wait_until(lambda: now().run_count > count, "it goes on")


def test_a_call_of_run_schedule_is_repeated_without_a_second_task(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutSchedule(name="r", spec=TRUE, timing={"every_seconds": 3600.0})
    first, again = (calls.RunSchedule(name="r", idempotency_key="monday") for _ in range(2))
    assert (first.existing, again.existing, first.token) == (False, True, again.token)
    assert calls.RunSchedule(name="r").token != first.token
    assert calls.GetSchedule(name="r").schedule.run_count == 0, "its due times are counted"
    calls.DeleteSchedule(name="r")


def test_g2_g13_schedules_outlive_their_database_sealed_and_run_no_due_time_twice(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon("--encryption-key-file", key_file(tmp_path / "keys", new_key())).start()
    failing = {"command": {"argv": ["sh", "-c", "exit 1", SECRET]}}
    timing = {"every_seconds": 1.0, "missed_runs": 3, "max_missed_count": 1000}
    calls = daemon.calls
    calls.PutSchedule(name="often", spec=failing, timing=timing)
    calls.PutSchedule(name="once", spec=failing, timing={"at_time": 1.0})
    calls.PutSchedule(name="paused", spec=failing, timing={"cron": "30 2 * * *", "timezone": "Europe/Berlin"})
    calls.PauseSchedule(name="paused")
    wait_until(partial(more_runs, daemon, "often", 2), "three runs")
    assert holders(daemon.state_dir) == []
    before = found(daemon, "paused")
    daemon.kill9()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    daemon.start()
    assert found(daemon, "paused") == before
    wait_until(partial(more_runs, daemon, "often", len(runs(daemon, "often"))), "one more run")
    calls = daemon.calls
    calls.PauseSchedule(name="often")
    dues = sorted(float(run.split(":")[1]) for run in runs(daemon, "often"))
    assert len(dues) == len(set(dues)) == found(daemon, "often").run_count
    assert all(later - earlier == pytest.approx(1.0, abs=0.01) for earlier, later in pairwise(dues))
    assert (found(daemon, "once").run_count, len(runs(daemon, "once"))) == (1, 1)


def test_schedules_outlive_a_database_without_a_task(daemon: Daemon) -> None:
    daemon.calls.PutSchedule(name="alone", spec=TRUE, timing={"every_seconds": 3600.0})
    before = found(daemon, "alone")
    daemon.stop()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    daemon.start()
    assert found(daemon, "alone") == before
    daemon.calls.DeleteSchedule(name="alone")
    daemon.stop()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    daemon.start()
    assert not daemon.calls.ListSchedules().schedules
