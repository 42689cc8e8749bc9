"""G11: a row that can be read but means nothing is a damage like any other; whoever ends the daemon meanwhile is heard."""

from __future__ import annotations

import errno
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.stores.rows import UnreadableError, decode_task
from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.faults.database_faults import READ, Fault, Plan
from tests.faults.preload import build_library
from tests.integration.helpers import end_of, failure_of, start, status_of, wait_for_state
from tests.waiting import wait_until

GARBAGE: tuple[dict[str, Any], ...] = (
    {"tariff": 7},
    {"tariff": {"nonsense": 1}},
    {"tariff": {"custom": 7}},
    {"tariff": {"per_core_hour": "dear"}},
    {"earlier": 7},
    {"stop": [99, 0]},
    {"stop": {}, "key": None, "wait": 3},
)


def harm(daemon: Daemon, token: str, garbage: dict[str, Any]) -> None:
    """Change a stored task behind the daemon's back, in a way that no page of the file shows."""
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        [detail] = database.execute("SELECT detail FROM tasks WHERE token = ?", (token,)).fetchone()
        database.execute("UPDATE tasks SET detail = ? WHERE token = ?", (json.dumps(json.loads(detail) | garbage), token))
    database.close()


@pytest.mark.parametrize("garbage", GARBAGE, ids=json.dumps)
def test_garbage_is_judged_whatever_it_ends_in(garbage: dict[str, Any]) -> None:
    detail = {"key": "", "retries_used": 0, "queued_time": 0.0, "incarnation": 1, "boot_id": "", "launch_time": 0.0}
    detail |= {"start_time": 0.0, "gone_time": 0.0, "pid": 0, "exit_code": 0, "exit_signal": 0, "exit_message": ""}
    detail |= {"stop": None, "unkillable": [], "earlier": {}, "tariff": {}}
    row = ("t", "n", "e", b"", b"", 0.0, 0, 0, 0, 0, 0.0, 0, "{}", "{}", json.dumps(detail), "tk_1", None, None, None)
    decode_task(row, lambda _: task_spec())
    with pytest.raises(UnreadableError, match="tk_1"):
        decode_task((*row[:14], json.dumps(detail | garbage), *row[15:]), lambda _: task_spec())


def task_spec() -> Any:
    return object()


def test_g4_g11_a_row_that_means_nothing_has_the_next_start_build_the_database_anew(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon().start()
    running = start(daemon.calls, "sleep", "600")
    wait_for_state(daemon.calls, running, task_pb2.TASK_STATE_RUNNING)
    daemon.kill9()
    harm(daemon, running, {"earlier": 7})
    daemon.start()
    assert status_of(daemon.calls, running).state == task_pb2.TASK_STATE_RUNNING
    assert "holds what was never written" in daemon.log()


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE], ids=["looks damaged", "cannot be read"])
def test_g4_g11_a_disk_that_fails_while_the_daemon_starts_is_asked_again(
    make_daemon: Callable[..., Daemon], tmp_path: Path, error: int
) -> None:
    plan = Plan(tmp_path / "plan")
    daemon = make_daemon()
    daemon.env |= {"LD_PRELOAD": str(build_library("sqlite_faults", tmp_path)), "TEST_SQLITE_FAULTS": str(plan.path)}
    ended = start(daemon.start().calls, "true")
    end_of(daemon.calls, ended)
    store_id = daemon.calls.GetServerInfo().store_id
    daemon.kill9()
    plan.put(Fault(READ, error), every=1, times=5, after=False)
    daemon.start()
    assert plan.hits == 5
    assert daemon.calls.GetServerInfo().store_id == store_id, "the history was kept"
    assert "trying again" in daemon.log()


def test_g4_a_daemon_that_is_told_to_end_while_it_starts_anew_ends(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--drain-on-stop", "always").start()
    calls = daemon.calls
    running, ended = start(calls, "sleep", "600"), start(calls, "true")
    wait_for_state(calls, running, task_pb2.TASK_STATE_RUNNING)
    end_of(calls, ended)
    harm(daemon, ended, {"tariff": {"nonsense": 1}})

    def is_new() -> bool:
        try:
            return len(daemon.calls.ListTasks().tasks) == 2
        except grpc.RpcError:
            return False

    failure = failure_of(calls.ListTasks)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    wait_until(is_new, "it serves with a new database", 20)
    assert status_of(daemon.calls, running).state == task_pb2.TASK_STATE_RUNNING, "starting anew is no reason to drain"
    (daemon.state_dir / "rebuilt.json").unlink()  # else a second damage within a minute is left to people
    end_of(daemon.calls, ended)
    harm(daemon, ended, {"tariff": {"nonsense": 1}})
    failure_of(daemon.calls.ListTasks)
    assert daemon.stop() in {0, -signal.SIGTERM}, "late, it ends like any daemon that is starting"
    assert end_of(daemon.start().calls, ended).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
