"""G5, G7: a stop that is asked for ends a task as CANCELLED and never as success, in whatever phase it was asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests import processes, ptrace
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import (
    Failure,
    end_of,
    failure_of,
    moves,
    start,
    start_python,
    status_of,
    wait_for_output,
    wait_for_state,
)
from tests.waiting import wait_until

CANCELLED = (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_CANCELLED)
LEAVES_A_CHILD = 'sh -c "trap \'\' TERM; echo up; while :; do sleep 1; done" & while ! grep -q up "$0"; do :; done; exit 0'
"""Main ends with 0 at once; its child heeds no TERM, so that the task is finalising for a whole grace period."""


def finalising(calls: Calls, **spec: Any) -> str:
    token = start(calls, "sh", "-c", LEAVES_A_CHILD.replace('"$0"', "../stdout"), grace_period_seconds=600.0, **spec)
    wait_until(lambda: status_of(calls, token).end_time > 0, "its main process has ended")
    assert status_of(calls, token).state == task_pb2.TASK_STATE_STOPPING
    return token


@pytest.mark.parametrize("immediate", [False, True])
def test_while_queued(make_daemon: Any, tmp_path: Path, immediate: bool) -> None:
    calls = make_daemon("--max-running", "1").start().calls
    running = start(calls, "sleep", "600")
    queued = start(calls, "touch", str(tmp_path / "ran"))
    answer = calls.Terminate(token=queued, immediate=immediate)
    assert (answer.status.state, answer.status.outcome) == CANCELLED, "at once"
    assert answer.status.exit_message == "stopped on request, before it started"
    calls.Terminate(token=running, immediate=True)
    end_of(calls, running)
    later = start(calls, "true")
    end_of(calls, later)
    assert not (tmp_path / "ran").exists() and moves(calls, queued) == [(0, 0), (0, 4), (4, 6)]


@pytest.mark.parametrize("immediate", [False, True])
def test_while_launching(shared_daemon: Daemon, immediate: bool) -> None:
    calls = shared_daemon.calls
    tokens = [start(calls, "true") for _ in range(20)]
    stopped = []
    for token in tokens:
        try:
            calls.Terminate(token=token, immediate=immediate)
        except grpc.RpcError as error:
            if Failure(error).reason != "TASK_ENDED":  # an honest answer; anything else is not
                raise
        else:
            stopped.append(token)
    for token in stopped:
        ended = end_of(calls, token)
        assert (ended.state, ended.outcome) == CANCELLED, ended.exit_message


def test_while_initialising(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", announces_ready=True)
    wait_for_output(calls, token, b"up")
    wait_for_state(calls, token, task_pb2.TASK_STATE_INITIALIZING)
    calls.Terminate(token=token)
    ended = end_of(calls, token)
    assert ((ended.state, ended.outcome), ended.exit_code) == (CANCELLED, 0)


@pytest.mark.parametrize("immediate", [False, True])
def test_while_finalising_by_itself(shared_daemon: Daemon, immediate: bool) -> None:
    calls = shared_daemon.calls
    token = finalising(calls)
    assert calls.Terminate(token=token, reason="no need", immediate=immediate).already_stopping
    if not immediate:  # else it may have ended by now
        assert calls.Terminate(token=token, grace_period_seconds=0.1).already_stopping
    ended = end_of(calls, token)
    assert ((ended.state, ended.outcome), ended.exit_code) == (CANCELLED, 0), "the kernel's code stays"
    assert ended.exit_message == (
        "stopped on request (no need) while the rest of its processes was being ended; its main process: exited with code 0"
    )


def test_while_finalising_across_the_death_of_the_daemon(daemon: Daemon) -> None:
    token = finalising(daemon.calls)
    daemon.calls.Terminate(token=token, immediate=True)
    daemon.kill9()
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "the shim ends the tree by itself")
    daemon.start()
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == CANCELLED


def test_a_stop_is_kept_by_the_shim_when_the_daemon_dies_right_after(daemon: Daemon) -> None:
    token = start(daemon.calls, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done", grace_period_seconds=1.0)
    wait_for_output(daemon.calls, token, b"up")
    daemon.calls.Terminate(token=token)
    daemon.kill9()
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "the grace period runs in the shim")
    daemon.start()
    ended = end_of(daemon.calls, token)
    assert ((ended.state, ended.outcome), ended.exit_signal) == (CANCELLED, 9)


@pytest.mark.parametrize(("limit", "already"), [("timeout_seconds", False), ("idle_ttl_seconds", True)])
def test_while_a_limit_is_ending_it(shared_daemon: Daemon, limit: str, already: bool) -> None:
    """Its grace period runs already, for another reason, and it would be tried again; who stops it now has stopped it."""
    calls = shared_daemon.calls
    script = "trap 'touch asked' TERM; sleep 600 & while :; do wait; done"
    spec = {limit: 1.0, "grace_period_seconds": 600.0, "retry": {"max_retries": 3}}
    token = start(calls, "sh", "-c", script, **spec)
    [work] = wait_until(lambda: list(shared_daemon.state_dir.glob(f"tasks/*/{token}/0/task/work")), "it has started")
    wait_until((work / "asked").exists, "it was asked to end")
    assert calls.Terminate(token=token, immediate=True).already_stopping == already
    ended = end_of(calls, token)
    assert ((ended.state, ended.outcome), ended.attempt) == (CANCELLED, 0), ended.exit_message
    assert ended.exit_message.startswith("stopped on request, when it had ")


def test_while_it_fails_to_start(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    for _ in range(10):
        token = start(calls, "no such command", retry={"max_retries": 3, "delay_seconds": 600})
        calls.Terminate(token=token)
        ended = end_of(calls, token)
        assert (ended.state, ended.outcome) == CANCELLED, ended.exit_message


def test_after_its_end_it_is_refused_however_often(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "true")
    before = end_of(calls, token)
    for immediate in (False, True, False):
        assert failure_of(calls.Terminate, token=token, immediate=immediate).reason == "TASK_ENDED"
    assert status_of(calls, token) == before, "nothing of it has changed"


def test_the_same_stop_ten_times_makes_one_history(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done", grace_period_seconds=1.0)
    wait_for_output(calls, token, b"up")
    answers = [calls.Terminate(token=token, grace_period_seconds=1.0).already_stopping for _ in range(10)]
    assert answers == [False] + [True] * 9
    end_of(calls, token)
    assert moves(calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]


def test_a_stopping_task_names_the_processes_that_outlive_sigkill(shared_daemon: Daemon) -> None:
    """In a frozen v1 cgroup a process is killed and does not die: what a hung disk does, and root can undo."""
    freezer = Path("/sys/fs/cgroup/freezer")
    if not os.access(freezer, os.W_OK) or not (freezer / "cgroup.procs").exists():
        return  # how it is said is tested without, in tests/unit/rpc/test_status.py
    calls = shared_daemon.calls
    place = freezer / f"taskmeter-test-{os.getpid()}"
    place.mkdir()
    token = start_python(calls, "import signal; print('up', flush=True); signal.pause()", grace_period_seconds=0.1)
    try:
        wait_for_output(calls, token, b"up")
        pid = wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING).pid
        (place / "cgroup.procs").write_text(str(pid))
        (place / "freezer.state").write_text("FROZEN")
        calls.Terminate(token=token)
        wait_until(lambda: status_of(calls, token).unkillable_pids, "it is listed")
        status = status_of(calls, token)
        assert list(status.unkillable_pids) == [pid] and status.state == task_pb2.TASK_STATE_STOPPING
        assert status.exit_message == f"1 of its processes outlives SIGKILL: {pid}"
    finally:
        (place / "freezer.state").write_text("THAWED")
        ended = end_of(calls, token)
        place.rmdir()
    assert (ended.state, ended.outcome) == CANCELLED and not ended.unkillable_pids
    assert "outlives" not in ended.exit_message


def test_g6_a_process_that_cannot_be_reaped_is_named_and_bounds_a_drain(daemon: Daemon) -> None:
    """Dead, and held by a debugger: its task has not ended, says so, and neither stops the daemon from going nor is forgotten."""
    token = start(daemon.calls, "sleep", "600", grace_period_seconds=0.1, retry={"max_retries": 3})
    pid = wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING).pid
    with ptrace.held(pid):
        daemon.calls.Terminate(token=token)
        wait_until(lambda: status_of(daemon.calls, token).unkillable_pids, "it is listed")
        status = status_of(daemon.calls, token)
        assert list(status.unkillable_pids) == [pid] and status.state == task_pb2.TASK_STATE_STOPPING
        assert status.exit_message == f"1 of its processes outlives SIGKILL: {pid}"
        daemon.calls.Drain()
        assert daemon.stop() == 0, "it does not wait for ever"
        assert f"drained but for task {token}, which outlives its kill, processes {pid}" in daemon.log()
        daemon.start()
        assert list(status_of(daemon.calls, token).unkillable_pids) == [pid]
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == CANCELLED and not ended.unkillable_pids
