"""Terminate: accepted at once, durable, and no process of the tree is left, whatever it tries."""

from __future__ import annotations

import sys
from time import monotonic

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, start, start_python, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

CANCELLED = task_pb2.TASK_OUTCOME_CANCELLED
SLACK_SECONDS = 5.0

HOSTILE = {
    "setsid": "setsid sleep 600 & echo up; sleep 600",
    "double fork": "(setsid sh -c '(sleep 600 &) ; sleep 600' &) ; echo up; sleep 600",
    "ignores TERM": "trap '' TERM HUP INT; sleep 600 & echo up; while :; do sleep 600; done",
    "stopped": "sh -c 'kill -STOP $$; sleep 600' & echo up; sleep 600",
    "pipeline": "sleep 600 | sleep 600 & echo up; sleep 600",
}

HOPPER = """
import os, sys
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            if os.fork() == 0:
                os.setsid()
            else:
                os._exit(0)
print("up", flush=True)
import signal
signal.pause()
"""


def processes_of_tasks(daemon: Daemon) -> dict[int, str]:
    """All processes of this daemon's tasks, without the shims that watch over them."""
    found = processes.of_state_dir(daemon.state_dir)
    return {pid: command for pid, command in found.items() if not command.startswith("taskmeter-shim ")}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_no_process_survives_a_stop(make_daemon: object, kind: str, cgroup: str) -> None:
    daemon: Daemon = make_daemon("--cgroup", cgroup).start()  # type: ignore[operator]
    calls = daemon.calls
    token = start(calls, "sh", "-c", HOSTILE[kind], grace_period_seconds=1.0)
    wait_for_output(calls, token, b"up")
    before = monotonic()
    calls.Terminate(token=token, reason="enough")
    ended = end_of(calls, token)
    assert monotonic() - before < 1.0 + 1.0 + SLACK_SECONDS
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, CANCELLED)
    assert "enough" in ended.exit_message
    assert not processes_of_tasks(daemon), "the tree is empty before the task counts as ended"
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "its supervisor leaves too")
    assert moves(calls, token)[-2:] == [(3, 4), (4, 6)]


@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_a_chain_that_forks_faster_than_one_can_look_is_killed(make_daemon: object, cgroup: str) -> None:
    daemon: Daemon = make_daemon("--cgroup", cgroup).start()  # type: ignore[operator]
    token = start_python(daemon.calls, HOPPER, grace_period_seconds=0.2)
    wait_for_output(daemon.calls, token, b"up")
    daemon.calls.Terminate(token=token)
    assert end_of(daemon.calls, token).outcome == CANCELLED
    assert not processes_of_tasks(daemon)


def test_a_job_that_heeds_term_may_clean_up_and_keeps_its_exit_code(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")
    wait_for_output(calls, token, b"up")
    answer = calls.Terminate(token=token)
    assert not answer.already_stopping and answer.status.state == task_pb2.TASK_STATE_STOPPING
    ended = end_of(calls, token)
    assert (ended.outcome, ended.exit_code) == (CANCELLED, 7), "stopped on request is never success or failure"
    assert b"bye" in wait_for_output(calls, token, b"bye")


def test_a_clean_exit_after_a_stop_is_cancelled_all_the_same(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
    wait_for_output(calls, token, b"up")
    calls.Terminate(token=token)
    ended = end_of(calls, token)
    assert (ended.state, ended.outcome, ended.exit_code) == (task_pb2.TASK_STATE_CANCELLED, CANCELLED, 0)


def test_immediate_kills_at_once(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done")
    wait_for_output(calls, token, b"up")
    calls.Terminate(token=token, immediate=True)
    ended = end_of(calls, token)
    assert (ended.outcome, ended.exit_signal) == (CANCELLED, 9) and "killed" in ended.exit_message


def test_a_second_stop_is_idempotent_and_a_shorter_grace_escalates(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done", grace_period_seconds=600.0)
    wait_for_output(calls, token, b"up")
    assert not calls.Terminate(token=token).already_stopping
    assert calls.Terminate(token=token).already_stopping
    assert status_of(calls, token).state == task_pb2.TASK_STATE_STOPPING
    assert calls.Terminate(token=token, grace_period_seconds=0.1).already_stopping
    assert end_of(calls, token).outcome == CANCELLED


def test_a_stop_right_after_the_start_never_ends_as_success(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    for _ in range(20):
        token = start(calls, sys.executable, "-c", "import time; time.sleep(600)")
        calls.Terminate(token=token, immediate=True)
        assert end_of(calls, token).outcome == CANCELLED
        assert moves(calls, token)[-1] == (4, 6)


def test_an_ended_task_cannot_be_stopped_and_the_error_says_how_it_ended(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "false")
    end_of(calls, token)
    failure = failure_of(calls.Terminate, token=token)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_ENDED")
    assert (failure.metadata["state"], failure.metadata["outcome"]) == ("TASK_STATE_COMPLETED", "TASK_OUTCOME_FAILED")


def test_bad_graces_are_refused(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "60")
    for grace in (-1.0, float("nan"), 1e12):
        failure = failure_of(calls.Terminate, token=token, grace_period_seconds=grace)
        assert failure.reason == "FIELD_INVALID" and "grace_period_seconds" in failure.fields
    assert wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING).state == task_pb2.TASK_STATE_RUNNING
    calls.Terminate(token=token, immediate=True)
    end_of(calls, token)


def test_the_timeout_still_holds_while_no_daemon_runs(daemon: Daemon) -> None:
    token = start(daemon.calls, "sleep", "600", timeout_seconds=1.0)
    wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    daemon.kill9()
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "the shim ends the task by itself")
    daemon.start()
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_TIMED_OUT
