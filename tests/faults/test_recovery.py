"""G3, G4, G9: what a starting daemon makes of what it finds, in the order claim, lock, exit; and of an older daemon's state."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, moves, read, start, status_of, wait_for_state
from tests.waiting import wait_until

RUNNING, STARTING = task_pb2.TASK_STATE_RUNNING, task_pb2.TASK_STATE_STARTING
STATES = Path(__file__).parent.parent / "fixtures"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def set_starting(daemon: Daemon, token: str, boot_id: str) -> None:
    """Put a waiting task into STARTING, as it is committed just before its supervisor is spawned."""
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        [(text,)] = database.execute("SELECT detail FROM tasks WHERE token = ?", (token,))
        detail: dict[str, Any] = json.loads(text)
        detail |= {"boot_id": boot_id, "incarnation": 77, "launch_time": detail["queued_time"]}
        database.execute("UPDATE tasks SET state = ?, detail = ? WHERE token = ?", (STARTING, json.dumps(detail), token))
    database.close()


@pytest.mark.parametrize("same_boot", [True, False])
def test_g3_a_launch_that_nobody_claimed_is_made_again_only_if_the_host_was_not_restarted(
    make_daemon: Callable[..., Daemon], same_boot: bool
) -> None:
    """A power cut may take an unsynced claim with it: then nobody knows whether the task ran."""
    daemon = make_daemon("--max-running", "1").start()
    holding = start(daemon.calls, "sleep", "600")
    wait_for_state(daemon.calls, holding, RUNNING)
    token = start(daemon.calls, "sh", "-c", "echo ran")
    assert daemon.stop() == 0
    set_starting(daemon, token, BOOT_ID if same_boot else "another-boot")
    daemon.start()
    ended = end_of(daemon.calls, token)
    if same_boot:
        assert ended.outcome == task_pb2.TASK_OUTCOME_SUCCEEDED and read(daemon.calls, token) == b"ran\n"
    else:
        assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_LOST, -1)
        assert "restarted" in ended.exit_message
        assert not list(daemon.state_dir.glob(f"tasks/*/{token}/0/task/stdout")) or not read(daemon.calls, token)


@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_g6_a_double_fault_of_many_leaves_nobody(make_daemon: Callable[..., Daemon], cgroup: str) -> None:
    """Daemon and all supervisors die at once; trees that hide from process groups and sessions are found all the same."""
    daemon = make_daemon("--cgroup", cgroup).start()
    code = "setsid sh -c 'setsid sleep 600 & sleep 600' & trap '' TERM; sleep 600"
    tokens = [start(daemon.calls, "sh", "-c", code) for _ in range(5)]
    for token in tokens:
        wait_for_state(daemon.calls, token, RUNNING)
    wait_until(lambda: len(processes.of_state_dir(daemon.state_dir)) >= 5 * 4, "all trees are grown")
    daemon.kill9()
    for pid, line in processes.of_state_dir(daemon.state_dir).items():
        if line.startswith("taskmeter-shim"):
            os.kill(pid, signal.SIGKILL)
    daemon.start()
    for token in tokens:
        ended = end_of(daemon.calls, token)
        assert ended.outcome == task_pb2.TASK_OUTCOME_LOST and "supervisor died" in ended.exit_message
        assert moves(daemon.calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "no process is left")


def test_g4_what_was_adopted_is_metered_again_and_its_counters_go_on(make_daemon: Callable[..., Daemon]) -> None:
    """Meters are opened after serving has begun: who asks before that is not told that nothing was used."""
    daemon = make_daemon().start()
    token = start(daemon.calls, "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo up; sleep 600")
    wait_until(
        lambda: read(daemon.calls, token) == b"up\n" and status_of(daemon.calls, token).metrics.cpu_time_ns > 0, "it works"
    )
    daemon.stop()
    daemon.start()
    first = status_of(daemon.calls, token)
    assert first.state == RUNNING and first.metrics.cpu_time_ns > 0 and first.tokens.total > 0
    wait_until(lambda: status_of(daemon.calls, token).metrics.sample_time > first.metrics.sample_time, "samples go on")


@pytest.mark.parametrize("version", [1])
def test_the_state_of_every_released_schema_is_opened_and_read(make_daemon: Callable[..., Daemon], version: int) -> None:
    daemon = make_daemon("--max-running", "1")
    daemon.state_dir.mkdir(mode=0o700)
    with tarfile.open(STATES / f"state-v{version}.tar.xz") as archive:
        archive.extractall(daemon.state_dir)  # our own; `filter` is not in every 3.11
    daemon.start()
    calls = daemon.calls
    tasks = {task.name: task for task in calls.ListTasks().tasks}
    assert set(tasks) == {"succeeded", "failed", "cancelled", "running", "waiting"}
    succeeded = tasks["succeeded"]
    assert (succeeded.outcome, succeeded.exit_code) == (task_pb2.TASK_OUTCOME_SUCCEEDED, 0)
    assert (succeeded.project_id, succeeded.source, succeeded.idempotency_key) == ("p", "s", "held")
    assert dict(succeeded.tags) == {"tag": "one"} and dict(succeeded.metadata) == {"key": "value"}
    assert succeeded.total_count == 3 and succeeded.tokens.total > 0 and succeeded.metrics.cpu_time_ns > 0
    assert read(calls, succeeded.token) == b"out\n" and read(calls, succeeded.token, "stderr") == b"err\n"
    assert (tasks["failed"].exit_code, tasks["failed"].attempt) == (7, 1)
    assert tasks["cancelled"].outcome == task_pb2.TASK_OUTCOME_CANCELLED and "enough" in tasks["cancelled"].exit_message
    assert end_of(calls, tasks["running"].token).outcome == task_pb2.TASK_OUTCOME_LOST, "its supervisor is of another time"
    waited = end_of(calls, tasks["waiting"].token)
    assert waited.outcome == task_pb2.TASK_OUTCOME_SUCCEEDED and read(calls, waited.token) == b"waited\n"
    assert moves(calls, waited.token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    old_head = 36
    assert calls.GetServerInfo().head_seq > old_head and calls.GetServerInfo().first_seq == 1
    again = calls.RetryTask(token=tasks["failed"].token, as_new=True).token
    assert end_of(calls, again).exit_code == 7, "its environment is still known"
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        [(now,)] = database.execute("PRAGMA user_version")
    database.close()
    assert now >= version


def test_a_second_daemon_is_refused_and_told_the_pid_of_the_first(daemon: Daemon, make_daemon: Callable[..., Daemon]) -> None:
    second = make_daemon(state_dir=daemon.state_dir)
    with pytest.raises(AssertionError) as refused:
        second.start()
    assert f"a daemon with pid {daemon.pid} already serves" in str(refused.value) and "ended with 4" in str(refused.value)
    assert end_of(daemon.calls, start(daemon.calls, "true")).exit_code == 0
