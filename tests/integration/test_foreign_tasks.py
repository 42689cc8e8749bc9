"""G12: what belongs to another tenant does not exist, on every call that names a task, in lists and in streams."""

from __future__ import annotations

import sqlite3

import grpc
import pytest

from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start

BY_TOKEN = ("GetTaskStatus", "WaitTask", "Terminate", "RetryTask", "UpdateTask", "DeleteTask", "GetMetricsHistory", "ReadFile")


@pytest.mark.guarantee("G12")
@pytest.mark.parametrize("lives", [True, False], ids=["running", "ended"])
def test_g12_a_foreign_task_is_not_found_by_any_call(daemon: Daemon, lives: bool) -> None:
    foreign = start(daemon.calls, "sleep", "600") if lives else start(daemon.calls, "true")
    own = start(daemon.calls, "true")
    end_of(daemon.calls, own)
    if not lives:
        end_of(daemon.calls, foreign)
    daemon.kill9()
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        for table in ("tasks", "events"):
            database.execute(f"UPDATE {table} SET tenant = 'somebody' WHERE token = ?", (foreign,))
    database.close()
    daemon.start()
    calls = daemon.calls
    for method in BY_TOKEN:
        fields = {"path": "stdout"} if method == "ReadFile" else {}
        failure = failure_of(getattr(calls, method), token=foreign, **fields)
        assert (method, failure.code, failure.reason) == (method, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert failure_of(calls.StreamEvents, tokens=[foreign], timeout=10).code is grpc.StatusCode.NOT_FOUND
    assert [task.token for task in calls.ListTasks().tasks] == [own]
    head = calls.GetServerInfo().head_seq
    seen = set()
    stream = calls.StreamEvents(from_seq=1, timeout=30)
    for message in stream:
        seen |= {event.token for event in message.events}
        if message.seq >= head:
            stream.cancel()
            break
    assert seen == {own}
