"""How a task ended, as the kernel saw it: every way to end shows its exact outcome, code, signal and sentence."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, moves, start, start_python, wait_for_state

SUCCEEDED, FAILED = task_pb2.TASK_OUTCOME_SUCCEEDED, task_pb2.TASK_OUTCOME_FAILED
SIGNALED, FAILED_TO_START = task_pb2.TASK_OUTCOME_SIGNALED, task_pb2.TASK_OUTCOME_FAILED_TO_START


@pytest.mark.parametrize(
    ("code", "outcome", "exit_code", "exit_signal"),
    [
        ("import os; os._exit(3)", FAILED, 3, 0),
        ("raise SystemExit(255)", FAILED, 255, 0),
        ("import os; os.kill(os.getpid(), 9)", SIGNALED, -9, 9),
        ("import os; os.kill(os.getpid(), 15)", SIGNALED, -15, 15),
        ("import resource, ctypes; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)", SIGNALED, -11, 11),
        ("import os; os.abort()", SIGNALED, -6, 6),
    ],
)
def test_exits_and_signals_are_exact(shared_daemon: Daemon, code: str, outcome: int, exit_code: int, exit_signal: int) -> None:
    ended = end_of(shared_daemon.calls, start_python(shared_daemon.calls, code))
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_COMPLETED, outcome)
    assert (ended.exit_code, ended.exit_signal) == (exit_code, exit_signal)
    if exit_signal:
        assert signal.Signals(exit_signal).name in ended.exit_message


def test_a_kill_from_outside_is_signaled_and_not_cancelled(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "60")
    os.kill(wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING).pid, signal.SIGKILL)
    ended = end_of(calls, token)
    assert (ended.outcome, ended.exit_code, ended.exit_message) == (SIGNALED, -9, "killed by SIGKILL")


@pytest.mark.parametrize(
    ("spec", "exit_code", "words"),
    [
        ({"command": {"argv": ["no-such-command-here"]}}, 127, "no-such-command-here"),
        ({"command": {"argv": ["/no/such/path"]}}, 127, "/no/such/path"),
        ({"command": {"argv": ["/etc/passwd"]}}, 126, "ermission denied"),
        ({"command": {"argv": ["/"]}}, 126, "ermission denied"),
        ({"command": {"argv": ["true"]}, "working_directory": "/no/such/directory"}, 126, "/no/such/directory"),
        ({"command": {"argv": ["true"]}, "working_directory": "/etc/hostname"}, 126, "ot a directory"),
    ],
)
def test_what_cannot_start_says_why(shared_daemon: Daemon, spec: dict[str, object], exit_code: int, words: str) -> None:
    calls = shared_daemon.calls
    token = calls.StartTask(spec=spec).token
    ended = end_of(calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_COMPLETED, FAILED_TO_START)
    assert ended.exit_code == exit_code and words in ended.exit_message
    assert ended.start_time == 0
    assert moves(calls, token) == [(0, 0), (0, 1), (1, 4), (4, 5)], "no RUNNING for what was never exec'ed"


def test_a_timeout_ends_the_tree_and_is_not_called_a_cancel(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    ended = end_of(calls, start(calls, "sh", "-c", "sleep 60 & sleep 60", timeout_seconds=0.3, grace_period_seconds=1.0))
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_TIMED_OUT)
    assert ended.exit_message.startswith("timed out after 0.3 s")
    assert ended.exit_signal == signal.SIGTERM


def test_the_end_of_a_task_waits_for_the_rest_of_its_tree(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    ended = end_of(calls, start(calls, "sh", "-c", "sleep 60 & exit 4", grace_period_seconds=5.0))
    assert (ended.outcome, ended.exit_code) == (FAILED, 4)
    assert ended.timings.stop_seconds < 5.0, "a child that heeds TERM does not take the whole grace period"


def test_a_task_that_announces_readiness_is_initializing_until_it_does(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    code = "import sys; from taskmeter.work import current; sys.stdin.read(); current().ready(); import signal; signal.pause()"
    token = start_python(
        calls, code, announces_ready=True, env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    )
    wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    calls.Terminate(token=token)
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_CANCELLED
    assert moves(calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]


def test_a_task_that_ends_before_it_is_ready_still_has_a_legal_history(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "false", announces_ready=True)
    assert end_of(calls, token).outcome == FAILED
    assert moves(calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
