"""G9: what began and ended while nobody looked has the whole history."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.faults.standing import go_on, standing_of
from tests.integration.helpers import end_of, moves, start
from tests.waiting import wait_until


@pytest.mark.parametrize("code", [0, 7])
def test_g9_a_task_that_began_and_ended_while_the_daemon_stood_still_has_been_running(
    make_daemon: Callable[..., Daemon], code: int
) -> None:
    daemon = make_daemon(env={"TASKMETER_FAILPOINTS": "shim.after_lock=stop*1"}).start()
    token = start(daemon.calls, "sh", "-c", f"exit {code}")
    standing = standing_of(daemon)
    os.kill(daemon.pid, signal.SIGSTOP)
    go_on(standing)
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "it has ended")
    os.kill(daemon.pid, signal.SIGCONT)
    ended = end_of(daemon.calls, token)
    assert ended.exit_code == code
    assert moves(daemon.calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert ended.outcome == (task_pb2.TASK_OUTCOME_FAILED if code else task_pb2.TASK_OUTCOME_SUCCEEDED)
