"""G1, G2, G3: a database that is built anew has everything that a user would miss, and runs nothing whose stop was accepted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.test_shim_killed import shim_of
from tests.integration.helpers import end_of, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

NONE, RUNNING = task_pb2.TASK_STATE_NONE, task_pb2.TASK_STATE_RUNNING
CANCELLED, FAILED = task_pb2.TASK_OUTCOME_CANCELLED, task_pb2.TASK_OUTCOME_FAILED
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


def lose_database(daemon: Daemon) -> Calls:
    """Delete the database, after a kill if the daemon runs, and start it again."""
    if daemon.process is not None and daemon.process.returncode is None:
        daemon.kill9()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    return daemon.start().calls


def wait_for_attempt(calls: Calls, token: str, attempt: int, state: int = NONE) -> task_pb2.TaskStatus:
    def reached() -> task_pb2.TaskStatus | None:
        found = status_of(calls, token)
        return found if (found.attempt, found.state) == (attempt, state) else None

    return wait_until(reached, f"attempt {attempt}")


def queues_of(calls: Calls) -> list[Any]:
    return [(queue.name, queue.max_running_count, queue.max_size, queue.paused) for queue in calls.ListQueues().queues]


def image(status: task_pb2.TaskStatus) -> dict[str, Any]:
    """What a user sees of a task that neither runs nor ends meanwhile."""
    names = (
        "state",
        "outcome",
        "attempt",
        "retries_used",
        "max_retries",
        "exit_message",
        "create_time",
        "name",
        "queue_position",
    )
    return {name: getattr(status, name) for name in names} | {"tags": dict(status.tags), "metadata": dict(status.metadata)}


@pytest.mark.timeout(180)
def test_g1_g2_g3_nothing_that_a_user_would_miss_is_lost_with_the_database(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    calls = daemon.calls
    never = daemon.home / "never"
    later = {"max_retries": 3, "delay_seconds": 3600}
    calls.PutQueue(name="narrow", max_running_count=1, max_size=5)
    calls.PutQueue(name="held", max_size=50)
    calls.PauseQueue(name="held")
    queues = queues_of(calls)
    waiting = [start(calls, "true", queue="held", name=str(number), tags={"a": "b"}) for number in range(3)]
    calls.UpdateTask(token=waiting[2], set_tags={"c": "d"}, delete_tags=["a"], set_metadata={"m": "n"}, priority=9)
    ended = start(calls, "false")
    end_of(calls, ended)
    calls.UpdateTask(token=ended, set_metadata={"note": "looked at"}, set_tags={"seen": "yes"})
    running = start(calls, "sh", "-c", "[ $TASKMETER_ATTEMPT = 2 ] || exit 3; echo up; exec sleep 600", retry={"max_retries": 5})
    wait_for_output(calls, running, b"up")
    calls.UpdateTask(token=running, set_tags={"while": "running"})
    retried = start(calls, "false", retry=later)
    changed = start(calls, "false", retry=later)
    stopped_between = start(calls, "sh", "-c", f"[ $TASKMETER_ATTEMPT = 0 ] || touch {never}; exit 1", retry=later)
    for token in (retried, changed, stopped_between):
        wait_for_attempt(calls, token, 1)
    calls.UpdateTask(token=changed, set_metadata={"while": "waiting"})
    calls.Terminate(token=stopped_between, reason="enough")
    stopped_waiting = start(calls, "touch", str(never), queue="held")
    calls.Terminate(token=stopped_waiting, reason="not wanted")
    doomed = start(calls, "touch", str(never), after=[ended])
    end_of(calls, doomed)
    first = calls.StartTask(spec={"command": {"argv": ["false"]}}, idempotency_key="k").token
    end_of(calls, first)
    second = calls.StartTask(spec={"command": {"argv": ["true"]}}, idempotency_key="k").token
    end_of(calls, second)
    stubborn, orphaned = (
        start(calls, "sh", "-c", STUBBORN, retry={"max_retries": 3, "retry_on": [task_pb2.TASK_OUTCOME_LOST]}) for _ in range(2)
    )
    for token in (stubborn, orphaned):
        wait_for_output(calls, token, b"up")
        calls.Terminate(token=token, grace_period_seconds=3600, reason="too slow")
    still = (*waiting, ended, retried, changed, stopped_between, stopped_waiting, doomed, first, second)
    before = {token: image(status_of(calls, token)) for token in still}
    shim = shim_of(daemon, orphaned)
    daemon.kill9()
    os.kill(shim, signal.SIGKILL)
    calls = lose_database(daemon)

    assert queues_of(calls) == queues
    for token, old in before.items():
        assert image(status_of(calls, token)) == old
    found = wait_for_attempt(calls, running, 2, RUNNING)
    assert (found.retries_used, found.max_retries, dict(found.tags)) == (2, 5, {"while": "running"})
    for token in (retried, changed):
        status = status_of(calls, token)
        what, _, rest = status.waiting_reason.partition(" in ")
        assert what == "retry 1 of 3" and 3000 < float(rest.split(" s ")[0]) <= 3600
    again = calls.StartTask(spec={"command": {"argv": ["true"]}}, idempotency_key="k").token
    assert again == second, "G2: it belongs to the task that succeeded"
    calls.ResumeQueue(name="held")
    assert all(end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED for token in waiting)
    starts = [end_of(calls, token).start_time for token in waiting]
    assert starts[2] == min(starts), "its new priority holds"
    status = status_of(calls, stubborn)
    assert status.state == task_pb2.TASK_STATE_STOPPING
    calls.Terminate(token=stubborn, immediate=True)
    status = end_of(calls, stubborn)
    assert status.outcome == CANCELLED and "too slow" in status.exit_message and status.attempt == 0
    lost = end_of(calls, orphaned)
    assert lost.attempt == 0, "what was stopped is not retried, however it ended"
    assert not never.exists()
    report = json.loads((daemon.state_dir / "rebuilt.json").read_text())
    assert (report["queue_count"], report["twin_count"], report["unreadable_count"]) == (2, 0, 0)


def test_a_retry_comes_when_it_was_due_and_not_later_by_the_time_without_a_daemon(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    go = daemon.home / "go"
    script = f"[ $TASKMETER_ATTEMPT = 1 ] && exit 0; echo up; while [ ! -e {go} ]; do sleep 0.02; done; exit 1"
    token = start(daemon.calls, "sh", "-c", script, retry={"max_retries": 1, "delay_seconds": 3600})
    wait_for_output(daemon.calls, token, b"up")
    shim = shim_of(daemon, token)
    daemon.kill9()
    go.touch()
    wait_until(lambda: not os.path.exists(f"/proc/{shim}"), "it has ended without a daemon")
    gone = next(daemon.state_dir.glob(f"tasks/*/{token}/0/gone")).stat().st_mtime
    wait_until(lambda: gone + 1.5 < time.time(), "time passes")
    daemon.start()
    status = wait_for_attempt(daemon.calls, token, 1)
    assert float(status.waiting_reason.partition(" in ")[2].split(" s ")[0]) <= 3598.6


def test_what_lies_in_queues_json_is_checked_and_said(make_daemon: Callable[..., Daemon]) -> None:
    """A file that is damaged costs the queues only together with the database; alone, it is written anew."""
    daemon = make_daemon().start()
    daemon.calls.PutQueue(name="kept", max_running_count=7)
    path = daemon.state_dir / "queues.json"
    sound = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    daemon.kill9()
    path.write_bytes(sound.replace(b"7", b"8"))
    daemon.start()
    assert "its checksum is wrong; it is written anew" in daemon.log() and path.read_bytes() == sound
    daemon.kill9()
    path.unlink()  # as an older version has left it
    daemon.start()
    assert path.read_bytes() == sound
    token = start(daemon.calls, "sleep", "600", queue="kept")
    wait_for_state(daemon.calls, token, RUNNING)
    daemon.kill9()
    path.write_bytes(sound[:-20])
    assert queues_of(lose_database(daemon)) == [("default", 0, 0, False)]
    assert "the queues have to be put again" in daemon.log()
    assert status_of(daemon.calls, token).state == RUNNING
