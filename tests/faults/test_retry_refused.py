"""G3, G11: a retry that a full disk has refused leaves nothing behind that a database built anew would run."""

from __future__ import annotations

import resource
from collections.abc import Callable

import grpc

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.faults.test_disk_full import limit_file_size
from tests.integration.helpers import end_of, failure_of, start

FAILED = task_pb2.TASK_OUTCOME_FAILED
ROOM_BYTES = 4096
"""Enough for the record of an attempt, and too little for a page of the database with its head."""


def test_g3_g11_what_was_refused_is_not_run_by_a_new_database(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    calls = daemon.calls
    calls.PutQueue(name="kept")
    tokens = [start(calls, "false", tags={"many": "yes"}) for _ in range(3)]
    assert {end_of(calls, token).outcome for token in tokens} == {FAILED}
    limit_file_size(daemon.pid, ROOM_BYTES)
    failure = failure_of(calls.RetryTask, token=tokens[0])
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
    answer = calls.RetryTasks(tags={"many": "yes"})
    assert (answer.retried_count, answer.stopped.token, answer.stopped.reason) == (0, tokens[0], "DISK_FULL")
    assert [queue.waiting_count for queue in calls.ListQueues().queues] == [0, 0]
    failure = failure_of(calls.DeleteQueue, name="kept")
    assert failure.reason == "DISK_FULL"
    limit_file_size(daemon.pid, resource.RLIM_INFINITY)
    assert start(calls, "true", queue="kept"), "what could not be deleted is as it was"
    daemon.kill9()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    calls = daemon.start().calls
    assert [queue.name for queue in calls.ListQueues().queues] == ["default", "kept"]
    ends = [end_of(calls, token) for token in tokens]
    assert [(status.outcome, status.attempt) for status in ends] == [(FAILED, 0)] * 3
    assert calls.RetryTasks(tags={"many": "yes"}).tokens == tokens
    assert [end_of(calls, token).attempt for token in tokens] == [1] * 3
