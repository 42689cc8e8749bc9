"""What was seen to go wrong in the reference systems when a task is stopped or ends: here it does not ("Beat" of A, C, D)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, moves, read, start, start_python, status_of, wait_for_output
from tests.waiting import wait_until

COMPLETED, CANCELLED = task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_CANCELLED
SLACK_SECONDS = 5.0


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Daemon]:
    """A daemon in which one task runs and the others wait."""
    with Daemon("--max-running", "1") as daemon:
        yield daemon


def outcome(status: task_pb2.TaskStatus) -> str:
    return task_pb2.TaskOutcome.Name(status.outcome).removeprefix("TASK_OUTCOME_")


def members(daemon: Daemon) -> dict[int, str]:
    found = processes.of_state_dir(daemon.state_dir)
    return {pid: command for pid, command in found.items() if not command.startswith("taskmeter-shim ")}


# ---- A: pipelines, status, terminate


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import os; os.kill(os.getpid(), 9)", (COMPLETED, "SIGNALED", -9, 9)),
        ("import os; os._exit(3)", (COMPLETED, "FAILED", 3, 0)),
        ("pass", (COMPLETED, "SUCCEEDED", 0, 0)),
    ],
    ids=["killed", "exits with 3", "clean exit"],
)
def test_an_end_is_told_as_it_was(shared_daemon: Daemon, code: str, end: tuple[int, str, int, int]) -> None:
    """There: SIGKILL and `_exit(3)` were COMPLETED with code 0, a clean exit was CANCELLED with 1."""
    status = end_of(shared_daemon.calls, start_python(shared_daemon.calls, code))
    assert (status.state, outcome(status), status.exit_code, status.exit_signal) == end


@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_grandchildren_end_with_the_task(make_daemon: Any, cgroup: str) -> None:
    """There (A and C): grandchildren, those with setsid above all, survived."""
    daemon: Daemon = make_daemon("--cgroup", cgroup).start()
    command = "sh -c 'sleep 600 & setsid sleep 600 & wait' & setsid sh -c 'sleep 600 & sleep 600' & echo up; wait"
    token = start(daemon.calls, "sh", "-c", command)
    wait_for_output(daemon.calls, token, b"up")
    wait_until(lambda: len(members(daemon)) >= 6, "all of them run")
    daemon.calls.Terminate(token=token)
    assert outcome(end_of(daemon.calls, token)) == "CANCELLED"
    assert not members(daemon)


@pytest.mark.parametrize("grace", [0.0, 0.5, 8.0])
def test_a_stop_takes_the_grace_that_was_asked(shared_daemon: Daemon, grace: float) -> None:
    """There: with a child that ignores SIGTERM it took 5.11 s, whatever was asked."""
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "trap '' TERM; sh -c \"trap '' TERM; echo up; while :; do sleep 1; done\" & wait")
    wait_for_output(calls, token, b"up")
    begin = monotonic()
    calls.Terminate(token=token, grace_period_seconds=grace)
    end_of(calls, token)
    assert grace <= monotonic() - begin < grace + 1.0 + SLACK_SECONDS


def test_a_busy_task_is_not_idle(shared_daemon: Daemon) -> None:
    """There: the idle timer ended tasks that were at work."""
    code = "import time\nend = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass"
    assert outcome(end_of(shared_daemon.calls, start_python(shared_daemon.calls, code, idle_ttl_seconds=1.0))) == "SUCCEEDED"


# ---- C: task management


@pytest.mark.parametrize("immediate", [False, True])
def test_a_kill_before_the_first_process_is_no_success(one_slot: Daemon, immediate: bool) -> None:
    """There: a task that was killed before its first process reported success."""
    calls = one_slot.calls
    first = start(calls, "sleep", "600")
    token = start(calls, "true")
    calls.Terminate(token=token, immediate=immediate)
    status = end_of(calls, token)
    assert (status.state, outcome(status), status.exit_code, status.pid) == (CANCELLED, "CANCELLED", -1, 0)
    calls.Terminate(token=first, immediate=True)
    assert outcome(end_of(calls, first)) == "CANCELLED"


def test_a_command_that_is_not_there_is_named(shared_daemon: Daemon) -> None:
    """There: it was masked as an internal error."""
    status = end_of(shared_daemon.calls, start(shared_daemon.calls, "no-such-program"))
    assert (outcome(status), status.exit_code) == ("FAILED_TO_START", 127)
    assert status.exit_message == "command not found: no-such-program"


def test_each_reason_to_be_ended_has_an_outcome_of_its_own(daemon: Daemon) -> None:
    """There: a stop by hand, by time, by idleness and by the loss of the host could not be told apart."""
    calls = daemon.calls
    asked, lost, drained = (start(calls, "sleep", "600") for _ in range(3))
    timed, idle = start(calls, "sleep", "600", timeout_seconds=0.5), start(calls, "sleep", "600", idle_ttl_seconds=1.0)
    calls.Terminate(token=asked)
    ends = {token: outcome(end_of(calls, token)) for token in (asked, timed, idle)}
    found = processes.of_state_dir(daemon.state_dir)
    shim = next(pid for pid, command in found.items() if command.startswith("taskmeter-shim ") and lost in command)
    os.kill(shim, 9)
    ends[lost] = outcome(end_of(calls, lost))
    calls.Drain(grace_period_seconds=1.0)
    ends[drained] = outcome(end_of(calls, drained))
    assert [ends[token] for token in (asked, timed, idle, lost, drained)] == [
        "CANCELLED",
        "TIMED_OUT",
        "IDLE_EXPIRED",
        "LOST",
        "INTERRUPTED",
    ]


# ---- D: background-task manager


def test_what_was_cancelled_in_the_queue_never_runs(one_slot: Daemon, tmp_path: Path) -> None:
    """There: a pending task that was cancelled ran all the same."""
    calls = one_slot.calls
    first = start(calls, "sleep", "600")
    tokens = [start(calls, "touch", str(tmp_path / str(number))) for number in range(5)]
    for token in tokens[:4]:
        calls.Terminate(token=token)
    calls.Terminate(token=first, immediate=True)
    assert outcome(end_of(calls, tokens[4])) == "SUCCEEDED"
    assert [path.name for path in tmp_path.iterdir()] == ["4"]
    assert all(moves(calls, token) == [(0, 0), (0, 4), (4, 6)] for token in tokens[:4])


def test_a_cancelled_task_does_not_run_to_its_end(shared_daemon: Daemon) -> None:
    """There: cancelled threads and processes went on until they were done."""
    code = (
        "import multiprocessing, threading, time\n"
        "def work():\n    print('up', flush=True)\n    time.sleep(600)\n    print('done', flush=True)\n"
        "threading.Thread(target=work).start()\nmultiprocessing.get_context('fork').Process(target=work).start()\n"
    )
    calls = shared_daemon.calls
    token = start_python(calls, code, grace_period_seconds=0.5)
    wait_until(lambda: read(calls, token).count(b"up") == 2, "thread and process work")
    calls.Terminate(token=token)
    assert outcome(end_of(calls, token)) == "CANCELLED"
    assert b"done" not in read(calls, token)


def test_a_drain_gives_the_grace_period_and_orphans_nobody(daemon: Daemon) -> None:
    """There: no grace at shutdown, and the workers of a process pool were left behind."""
    calls = daemon.calls
    command = "trap 'echo saved; exit 0' TERM; sleep 600 & echo up; while :; do sleep 0.05; done"
    token = start(calls, "sh", "-c", command)
    wait_for_output(calls, token, b"up")
    calls.Drain(grace_period_seconds=5.0)
    status = end_of(calls, token)
    assert (status.state, outcome(status), status.exit_code) == (CANCELLED, "INTERRUPTED", 0)
    assert b"saved" in read(calls, token) and not members(daemon)
    assert status_of(calls, token).completed
