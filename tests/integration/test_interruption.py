"""Work that is interrupted because the daemon is drained or the host goes down, and work that is then run again.

Guarantees named here: G3 an unknown end is not run again unless asked, G4 a daemon's end alone touches no task.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmeter.executors import taskdir
from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, read, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

INTERRUPTED, SUCCEEDED = task_pb2.TASK_OUTCOME_INTERRUPTED, task_pb2.TASK_OUTCOME_SUCCEEDED
FAILED, LOST, CANCELLED = task_pb2.TASK_OUTCOME_FAILED, task_pb2.TASK_OUTCOME_LOST, task_pb2.TASK_OUTCOME_CANCELLED
NONE, RUNNING = task_pb2.TASK_STATE_NONE, task_pb2.TASK_STATE_RUNNING

ONCE = 'trap "exit 3" TERM; echo "up $TASKMETER_ATTEMPT"; [ $TASKMETER_ATTEMPT = 1 ] && exit 0; while :; do sleep 0.02; done'
"""Ends with 3 when it is asked to end; its second attempt ends with 0 by itself."""
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.02; done"


def started(daemon: Daemon, script: str, **spec: Any) -> str:
    token = start(daemon.calls, "sh", "-c", script, **spec)
    wait_for_output(daemon.calls, token, b"up")
    return token


def test_a_drain_interrupts_what_runs_and_requeues_what_asked_for_it(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "3").start()
    calls = daemon.calls
    plain, again = started(daemon, ONCE), started(daemon, ONCE, requeue_on_interrupt=True, tags={"k": "v"}, priority=7)
    failing = start(calls, "false", retry={"max_retries": 1, "delay_seconds": 3600})
    wait_until(lambda: status_of(calls, failing).attempt == 1, "waiting for its retry")
    assert calls.Drain(reason="the night").stopping_count == 2
    assert failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}}).reason == "DRAINING"
    ended = end_of(calls, plain)
    assert (ended.outcome, ended.exit_code, ended.attempt) == (INTERRUPTED, 3, 0)
    assert "the night" in ended.exit_message
    waiting = wait_until(lambda: (status := status_of(calls, again)).state == NONE and status, "it waits")
    assert (waiting.attempt, waiting.retries_used, waiting.outcome) == (1, 0, 0)
    assert waiting.waiting_reason.startswith("to run again, ")
    assert status_of(calls, failing).waiting_reason.startswith("retry 1 of 1 in "), "what waits is left alone"
    assert daemon.stop() == 0
    daemon.start()
    done = end_of(daemon.calls, again)
    assert (done.outcome, done.attempt, done.retries_used, dict(done.tags)) == (SUCCEEDED, 1, 0, {"k": "v"})
    assert read(daemon.calls, again, attempt=0) == b"up 0\n"
    assert moves(daemon.calls, again)[4:7] == [(3, 4), (4, 0), (0, 1)]
    assert status_of(daemon.calls, plain).outcome == INTERRUPTED
    daemon.calls.Terminate(token=failing)


def test_sigterm_of_a_draining_daemon_waits_for_the_ends_and_stores_them(daemon: Daemon) -> None:
    token = started(daemon, STUBBORN, grace_period_seconds=1.0)
    daemon.calls.Drain()
    assert daemon.stop() == 0
    with sqlite3.connect(f"file:{daemon.state_dir}/taskmeter.db?mode=ro", uri=True) as database:
        found = database.execute("SELECT outcome FROM tasks WHERE token = ?", (token,)).fetchone()
    assert found == (INTERRUPTED,)
    assert not processes.of_state_dir(daemon.state_dir)


def test_a_second_sigterm_ends_a_draining_daemon_and_the_stop_goes_on_without_it(daemon: Daemon) -> None:
    token = started(daemon, STUBBORN, grace_period_seconds=3.0, requeue_on_interrupt=False)
    daemon.calls.Drain()
    assert daemon.process is not None
    os.kill(daemon.pid, signal.SIGTERM)
    wait_until(lambda: "waiting for 1 task" in daemon.log(), "it waits for the end")
    assert daemon.stop() == 0
    assert processes.of_state_dir(daemon.state_dir), "it did not wait for its task"
    daemon.start()
    assert end_of(daemon.calls, token).outcome == INTERRUPTED


def test_g4_sigterm_alone_touches_no_task(daemon: Daemon) -> None:
    token = started(daemon, ONCE, requeue_on_interrupt=True)
    daemon.stop()
    daemon.start()
    status = status_of(daemon.calls, token)
    assert (status.state, status.attempt) == (RUNNING, 0)
    daemon.calls.Terminate(token=token)
    assert end_of(daemon.calls, token).outcome == CANCELLED


def test_a_daemon_that_is_told_so_drains_at_sigterm(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--drain-on-stop", "always").start()
    plain, again = started(daemon, ONCE), started(daemon, ONCE, requeue_on_interrupt=True)
    assert daemon.stop() == 0
    assert not processes.of_state_dir(daemon.state_dir)
    daemon.start()
    assert end_of(daemon.calls, plain).outcome == INTERRUPTED
    assert "the host shuts down" in status_of(daemon.calls, plain).exit_message
    assert end_of(daemon.calls, again).outcome == SUCCEEDED


@pytest.mark.root
def test_a_daemon_that_is_process_1_of_a_container_drains_at_sigterm(daemon: Daemon) -> None:
    """All its tasks are killed with it: here in a pid namespace of its own."""
    daemon.stop()
    serve = [sys.executable, "-m", "taskmeter", "serve", "--state-dir", str(daemon.state_dir), "--cgroup", "off"]
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *serve]
    with daemon.log_path.open("ab") as log:
        outer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=daemon.env, text=True, cwd="/")
    try:
        assert outer.stdout is not None
        assert outer.stdout.readline().startswith("ready")
        plain, again = started(daemon, ONCE), started(daemon, ONCE, requeue_on_interrupt=True)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert outer.wait(20) == 0
    finally:
        outer.kill()
        outer.wait()
        outer.stdout.close()  # type: ignore[union-attr]
        daemon._forget_connection()
    daemon.start()
    assert end_of(daemon.calls, plain).outcome == INTERRUPTED
    assert end_of(daemon.calls, again).outcome == SUCCEEDED


def test_who_stops_a_task_while_it_is_interrupted_does_not_see_it_again(daemon: Daemon) -> None:
    token = started(daemon, STUBBORN, grace_period_seconds=30.0, requeue_on_interrupt=True)
    daemon.calls.Drain()
    assert daemon.calls.Terminate(token=token, grace_period_seconds=0.2).already_stopping
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, ended.attempt) == (CANCELLED, 0)
    assert "stopped on request" in ended.exit_message


def reboot(daemon: Daemon, token: str, *, claim: bool = True) -> None:
    """Leave of a running task what a power cut leaves: no process, and records of another boot (without `claim`, none)."""
    daemon.kill9()
    processes.end_all(daemon.state_dir)
    directory = next(daemon.state_dir.glob(f"tasks/*/{token}")) / "0"
    path = directory / "claim"
    record = taskdir.unpack_claim(path.read_bytes())
    assert record is not None
    if claim:
        path.write_bytes(
            taskdir.pack_claim(taskdir.Claim(record.shim_pid, record.incarnation, record.shim_start_ticks, "before"))
        )
    else:
        path.unlink()
        (directory / "pid").unlink()
    (directory / "exit").unlink(missing_ok=True)
    (directory / "gone").unlink(missing_ok=True)
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        (detail,) = database.execute("SELECT detail FROM tasks WHERE token = ?", (token,)).fetchone()
        changed = json.dumps(json.loads(detail) | {"boot_id": "before"})
        database.execute("UPDATE tasks SET detail = ? WHERE token = ?", (changed, token))
    database.close()
    daemon.start()


@pytest.mark.parametrize("claim", [True, False], ids=["claim kept", "claim gone"])
@pytest.mark.parametrize(
    ("spec", "outcome", "attempt"),
    [
        ({}, LOST, 0),
        ({"retry": {"max_retries": 3}}, LOST, 0),
        ({"requeue_on_interrupt": True}, SUCCEEDED, 1),
        ({"retry": {"max_retries": 3, "retry_on": [LOST]}}, SUCCEEDED, 1),
    ],
    ids=["nothing asked", "retries of failures", "requeue", "retry on lost"],
)
def test_g3_what_ran_when_the_host_went_down_is_lost_and_runs_again_only_when_asked(
    daemon: Daemon, claim: bool, spec: dict[str, Any], outcome: int, attempt: int
) -> None:
    token = started(daemon, ONCE, **spec)
    wait_for_state(daemon.calls, token, RUNNING)
    reboot(daemon, token, claim=claim)
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, ended.attempt) == (outcome, attempt)
    assert ended.retries_used == (1 if attempt and "retry" in spec else 0)
    if outcome == LOST:
        assert ended.exit_message == "lost: the host was restarted while it ran"


def test_a_supervisor_that_dies_is_no_interruption(daemon: Daemon) -> None:
    """Guarantee G3: the host did not restart, so requeue_on_interrupt does not cover it."""
    token = started(daemon, ONCE, requeue_on_interrupt=True)
    pid = wait_for_state(daemon.calls, token, RUNNING).pid
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, ended.attempt) == (LOST, 0)
