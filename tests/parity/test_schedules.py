"""A task queue's cron / every / once schedules, and what it got wrong.

There, schedules were in the memory of one process: a kill lost them all, and what was due while it was away was never run.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tests.daemon import Daemon
from tests.integration.helpers import end_of
from tests.integration.test_schedules import TRUE, found, move_due, runs
from tests.waiting import wait_until


def test_cron_every_and_once_schedules_run_and_outlive_a_kill(daemon: Daemon) -> None:
    calls = daemon.calls
    calls.PutSchedule(name="every", spec=TRUE, timing={"every_seconds": 1.0})
    calls.PutSchedule(name="once", spec=TRUE, timing={"at_time": time.time() + 0.5})
    calls.PutSchedule(name="cron", spec=TRUE, timing={"cron": "30 2 * * *", "timezone": "Europe/Berlin"})
    zone = ZoneInfo("Europe/Berlin")
    due = datetime.fromtimestamp(found(daemon, "cron").next_time, zone)
    assert (due.hour, due.minute, due.second) == (2, 30, 0)
    assert timedelta() < due - datetime.now(zone) <= timedelta(hours=25)
    daemon.kill9()
    daemon.start()
    for name in ("every", "once"):
        wait_until(lambda name=name: found(daemon, name).run_count, f"a run of {name}")  # type: ignore[misc]
    yesterday = (due - timedelta(days=1)).timestamp()
    move_due(daemon, yesterday, "cron")
    ran = wait_until(lambda: (now := found(daemon, "cron")).run_count and now, "the run that was missed")
    assert end_of(daemon.calls, ran.last_token).exit_code == 0
    assert (ran.next_time, len(runs(daemon, "cron")), len(runs(daemon, "once"))) == (due.timestamp(), 1, 1)
