"""kill -9 of a task's supervisor: its tree is found and ended, the outcome is LOST, and nobody claims to know more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from taskmeter.v1 import task_pb2, usage_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, start, wait_for_output
from tests.waiting import wait_until

BURN = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
while time.process_time() < 1.5:
    pass
print("up", flush=True)
time.sleep(600)
"""


def shim_of(daemon: Daemon, token: str) -> int:
    found = [
        pid
        for pid, line in processes.of_state_dir(daemon.state_dir).items()
        if line.startswith("taskmeter-shim") and token in line
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("cgroup", ["auto", "off"])
@pytest.mark.parametrize("daemon_too", [False, True], ids=["shim", "shim and daemon"])
def test_g3_g6_an_unknown_end_is_lost_and_leaves_no_process(
    make_daemon: Callable[..., Daemon], cgroup: str, daemon_too: bool
) -> None:
    daemon = make_daemon("--cgroup", cgroup).start()
    token = start(daemon.calls, sys.executable, "-S", "-c", BURN)
    wait_for_output(daemon.calls, token, b"up")
    shim = shim_of(daemon, token)
    if daemon_too:
        daemon.kill9()
    os.kill(shim, signal.SIGKILL)
    if daemon_too:
        wait_until(lambda: shim not in processes.of_state_dir(daemon.state_dir), "the shim is dead")
        daemon.start()
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_LOST)
    assert (ended.exit_code, ended.exit_signal) == (-1, 0) and ended.exit_message.startswith("lost: ")
    assert moves(daemon.calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "its tree is ended")
    # Without a cgroup only the meter page is left of a double fault, and that may be a second old.
    at_least_ns = 0.4e9 if daemon_too and ended.metrics.source != usage_pb2.METRICS_SOURCE_CGROUP else 1.4e9
    assert at_least_ns < ended.metrics.cpu_time_ns < 3e9, "what it had used is billed"


@pytest.mark.parametrize("cgroup", ["auto", "off"])
@pytest.mark.parametrize("daemon_too", [False, True], ids=["shim", "shim and daemon"])
def test_g3_g6_a_child_that_has_not_run_its_command_yet_is_found_too(
    make_daemon: Callable[..., Daemon], cgroup: str, daemon_too: bool
) -> None:
    """Between fork and exec it has no marker in its environment, and without a cgroup no other place."""
    daemon = make_daemon("--cgroup", cgroup, env={"TASKMETER_FAILPOINTS": "shim.before_exec=sleep(10000)*1"}).start()
    ran = daemon.home / "ran"
    token = start(daemon.calls, "touch", str(ran))
    pair = wait_until(
        lambda: found if len(found := list(processes.of_state_dir(daemon.state_dir))) == 2 else [], "the shim has its child"
    )
    shim = next(pid for pid in pair if processes.parent_of(pid) not in pair)
    [child] = set(pair) - {shim}
    if daemon_too:
        daemon.kill9()
    os.kill(shim, signal.SIGKILL)
    if daemon_too:
        wait_until(lambda: list(processes.of_state_dir(daemon.state_dir)) == [child], "the child is left")
        daemon.start()
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_LOST)
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "no process is left")
    assert not ran.exists()


def test_a_lost_task_is_never_run_again_by_itself_but_may_be_retried(daemon: Daemon) -> None:
    token = start(daemon.calls, "sh", "-c", "echo $TASKMETER_ATTEMPT up; [ $TASKMETER_ATTEMPT = 0 ] && exec sleep 600; exit 0")
    wait_for_output(daemon.calls, token, b"up")
    os.kill(shim_of(daemon, token), signal.SIGKILL)
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_LOST
    assert failure_of(daemon.calls.Terminate, token=token).reason == "TASK_ENDED"
    daemon.calls.RetryTask(token=token)
    again = end_of(daemon.calls, token)
    assert (again.outcome, again.attempt) == (task_pb2.TASK_OUTCOME_SUCCEEDED, 1)
