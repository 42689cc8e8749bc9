"""`taskmeter attach`: the meter of a process that runs already; leaving it leaves the process alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from taskmeter.cli.attach import _exit_code
from taskmeter.client.status import TaskStatus
from taskmeter.v1 import task_pb2
from tests.cli.terminal import Terminal
from tests.targets import Targets, go_on, is_alive, wait_until_dead
from tests.waiting import wait_until


@pytest.fixture
def targets():
    with Targets() as made:
        yield made


def status(daemon, token):
    return json.loads(daemon.cli("status", token, "--json").stdout)


def test_the_live_view_ends_with_the_code_of_the_process(shared_daemon, targets):
    target = targets.shell("read -r _; exit 3")
    with Terminal(["attach", str(target.pid)], shared_daemon.client_env()) as terminal:
        for text in ("running", "CPU", "RAM", "tokens"):
            terminal.expect(text)
        go_on(target)
        assert terminal.code() == 3
        assert "failed (code 3)" in terminal.text


def test_an_interrupt_leaves_and_says_how_to_stop_it(shared_daemon, targets):
    target = targets.shell("read -r _")
    with Terminal(["attach", str(target.pid)], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        assert terminal.code() == 0
        assert "sh runs on: taskmeter watch tk_" in terminal.text
        token = terminal.text.rpartition("taskmeter stop ")[2].split()[0]
    assert is_alive(target.pid)
    assert shared_daemon.cli("stop", token).returncode == 0
    wait_until_dead(target.pid)


def test_elsewhere_it_waits_quietly_and_an_interrupt_leaves(shared_daemon, targets):
    target = targets.shell("read -r _")
    command = [sys.executable, "-m", "taskmeter", "attach", "--tag", "attach=quietly", str(target.pid)]
    with subprocess.Popen(command, env=shared_daemon.client_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as view:
        wait_until(lambda: shared_daemon.cli("ls", "--tag", "attach=quietly", "--status", "running").stdout, "it is attached")
        view.send_signal(signal.SIGINT)
        out, err = view.communicate(timeout=30)
    assert (view.returncode, out) == (0, b"")
    assert b"taskmeter stop tk_" in err
    assert is_alive(target.pid)


def test_detach_prints_the_token_and_options_reach_the_task(shared_daemon, targets):
    target = targets.shell("read -r _")
    arguments = ["--no-descendants", "--name", "mine", "--tag", "a=b", "-d", str(target.pid)]
    token = shared_daemon.cli("attach", *arguments).stdout.strip()
    found = status(shared_daemon, token)
    assert (found["name"], found["tags"]) == ("mine", {"a": "b"})
    again = shared_daemon.cli("attach", "-d", str(target.pid))
    assert (again.returncode, again.stdout) == (125, "")
    assert "attached already" in again.stderr
    logs = shared_daemon.cli("logs", token)
    assert logs.returncode == 3
    assert "its output goes where it went before" in logs.stderr
    shared_daemon.cli("stop", "--now", token)
    assert not is_alive(target.pid)


def test_json_is_the_last_status_and_help_has_an_example(shared_daemon, targets):
    target = targets.shell("sleep 0.5; exit 0")
    result = shared_daemon.cli("attach", "--json", str(target.pid))
    assert (result.returncode, json.loads(result.stdout)["completed"]) == (0, True)
    assert "Example: taskmeter attach" in shared_daemon.cli("attach", "--help").stdout


@pytest.mark.parametrize(
    ("outcome", "code", "number", "expected"),
    [
        (task_pb2.TASK_OUTCOME_UNSPECIFIED, -1, 0, 0),
        (task_pb2.TASK_OUTCOME_INTERRUPTED, -1, 0, 0),
        (task_pb2.TASK_OUTCOME_SUCCEEDED, 0, 0, 0),
        (task_pb2.TASK_OUTCOME_FAILED, 7, 0, 7),
        (task_pb2.TASK_OUTCOME_SIGNALED, -9, 9, 137),
        (task_pb2.TASK_OUTCOME_FAILED_TO_START, 126, 0, 126),
        (task_pb2.TASK_OUTCOME_LOST, -1, 0, 125),
    ],
)
def test_the_exit_code_is_its_own_or_0_where_it_is_not_known(outcome, code, number, expected):
    message = task_pb2.TaskStatus(outcome=outcome, exit_code=code, exit_signal=number, completed=True)
    assert _exit_code(TaskStatus.of(message)) == expected
