"""A task queue's named queues: concurrency, max_size and priority, and what it got wrong.

There, a pending task that was cancelled ran all the same, lowering the concurrency under load deadlocked the queue (its
semaphore was swapped), a requeued task bypassed the limit and lost its priority, and a kill lost all that was pending.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start, status_of, wait_for_state
from tests.waiting import wait_until

NONE, RUNNING = task_pb2.TASK_STATE_NONE, task_pb2.TASK_STATE_RUNNING
SUCCEEDED, CANCELLED = task_pb2.TASK_OUTCOME_SUCCEEDED, task_pb2.TASK_OUTCOME_CANCELLED


def holding(calls: Calls, queue: str) -> str:
    """Start a task that runs until it is stopped, and wait until it runs."""
    token = start(calls, "sleep", "600", queue=queue)
    wait_for_state(calls, token, RUNNING)
    return token


def queue_of(calls: Calls, name: str) -> object:
    return next(queue for queue in calls.ListQueues().queues if queue.name == name)


def order_of(calls: Calls, tokens: list[str]) -> list[str]:
    """Return tasks that have ended by when they were started."""
    started = {token: end_of(calls, token).start_time for token in tokens}
    return sorted(tokens, key=lambda token: started[token])


def test_a_queue_runs_as_many_as_it_may_and_holds_as_many_as_it_may(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="narrow", max_running_count=1, max_size=2)
    first = holding(calls, "narrow")
    others = [start(calls, "true", queue="narrow") for _ in range(2)]
    failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}, "queue": "narrow"})
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert failure.retry_seconds
    assert [status_of(calls, token).queue_position for token in others] == [0, 1]
    assert status_of(calls, others[0]).waiting_reason == 'queue "narrow" is at its limit: 1 of 1 run'
    calls.Terminate(token=first, immediate=True)
    assert [end_of(calls, token).outcome for token in others] == [SUCCEEDED, SUCCEEDED]


def test_higher_priority_starts_first_and_a_new_priority_reorders_what_waits(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="ordered", max_running_count=1)
    first = holding(calls, "ordered")
    low, normal, high, raised = (start(calls, "true", queue="ordered", priority=priority) for priority in (-1, 0, 5, -9))
    calls.UpdateTask(token=raised, priority=9)
    assert [status_of(calls, token).queue_position for token in (raised, high, normal, low)] == [0, 1, 2, 3]
    calls.Terminate(token=first, immediate=True)
    assert order_of(calls, [low, normal, high, raised]) == [raised, high, normal, low]


def test_lowering_and_raising_the_limit_under_load_never_stops_the_queue(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    tokens = []
    for limit in (8, 1, 4, 2, 1, 0, 1, 6):
        calls.PutQueue(name="resized", max_running_count=limit)
        tokens += [start(calls, "sleep", "0.05", queue="resized") for _ in range(8)]
    assert all(end_of(calls, token).outcome == SUCCEEDED for token in tokens)
    found = wait_until(lambda: (now := queue_of(calls, "resized")).running_count == 0 and now, "nothing runs")  # type: ignore[attr-defined]
    assert (found.running_count, found.waiting_count) == (0, 0)


def test_what_runs_above_a_lowered_limit_runs_on(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="lowered", max_running_count=3)
    running = [holding(calls, "lowered") for _ in range(3)]
    calls.PutQueue(name="lowered", max_running_count=1)
    waiting = start(calls, "true", queue="lowered")
    for token in running[:2]:
        calls.Terminate(token=token, immediate=True)
        end_of(calls, token)
        assert status_of(calls, waiting).state == NONE
    assert status_of(calls, running[2]).state == RUNNING
    calls.Terminate(token=running[2], immediate=True)
    assert end_of(calls, waiting).outcome == SUCCEEDED


def test_a_task_cancelled_while_it_waits_never_runs(shared_daemon: Daemon, tmp_path: Path) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="cancelling", max_running_count=1)
    first = holding(calls, "cancelling")
    waiting = start(calls, "touch", str(tmp_path / "ran"), queue="cancelling")
    after_it = start(calls, "true", queue="cancelling")
    calls.Terminate(token=waiting)
    assert end_of(calls, waiting).outcome == CANCELLED
    calls.Terminate(token=first, immediate=True)
    end_of(calls, after_it)
    assert not (tmp_path / "ran").exists()
    assert end_of(calls, waiting).start_time == 0


def test_a_retried_task_keeps_its_priority_and_waits_for_the_limit_like_others(shared_daemon: Daemon, tmp_path: Path) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="retried", max_running_count=1)
    flag = tmp_path / "flag"
    failed = start(calls, "test", "-e", str(flag), queue="retried", priority=7, tags={"kind": "x"})
    assert end_of(calls, failed).outcome == task_pb2.TASK_OUTCOME_FAILED
    first = holding(calls, "retried")
    normal = start(calls, "true", queue="retried")
    flag.touch()
    status = calls.RetryTask(token=failed).status
    assert (status.state, status.queue_position, dict(status.tags)) == (NONE, 0, {"kind": "x"})
    calls.Terminate(token=first, immediate=True)
    assert order_of(calls, [normal, failed]) == [failed, normal]


def test_a_paused_queue_starts_nothing_and_leaves_what_runs_alone(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="paused")
    running = holding(calls, "paused")
    assert calls.PauseQueue(name="paused").queue.paused
    waiting = start(calls, "true", queue="paused")
    status = status_of(calls, waiting)
    assert (status.state, status.waiting_reason) == (NONE, 'queue "paused" is paused')
    assert status_of(calls, running).state == RUNNING
    assert not calls.ResumeQueue(name="paused").queue.paused
    assert end_of(calls, waiting).outcome == SUCCEEDED
    calls.Terminate(token=running, immediate=True)


def test_g1_queues_order_and_everything_that_waits_survive_kill9(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    daemon.calls.PutQueue(name="kept", max_running_count=1, max_size=50)
    daemon.calls.PutQueue(name="still paused")
    daemon.calls.PauseQueue(name="still paused")
    first = holding(daemon.calls, "kept")
    tokens = [start(daemon.calls, "true", queue="kept", priority=number % 3, tags={"n": str(number)}) for number in range(12)]
    daemon.calls.UpdateTask(token=tokens[0], priority=5)
    stuck = start(daemon.calls, "true", queue="still paused")
    before = [(queue.name, queue.max_running_count, queue.max_size, queue.paused) for queue in daemon.calls.ListQueues().queues]
    places = [status_of(daemon.calls, token).queue_position for token in tokens]
    daemon.kill9()
    daemon.restart()
    calls = daemon.calls
    assert before == [(queue.name, queue.max_running_count, queue.max_size, queue.paused) for queue in calls.ListQueues().queues]
    assert places == [status_of(calls, token).queue_position for token in tokens]
    assert [dict(status_of(calls, token).tags)["n"] for token in tokens] == [str(number) for number in range(12)]
    assert (status_of(calls, first).state, status_of(calls, stuck).state) == (RUNNING, NONE)
    calls.Terminate(token=first, immediate=True)
    assert order_of(calls, tokens) == [token for _, token in sorted(zip(places, tokens, strict=True))]
    assert status_of(calls, stuck).waiting_reason == 'queue "still paused" is paused'


def test_hundreds_wait_behind_a_pause_and_each_knows_its_place(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="long")
    calls.PauseQueue(name="long")
    tokens = [start(calls, "true", queue="long") for _ in range(300)]
    assert [status_of(calls, token).queue_position for token in tokens] == list(range(300))
    calls.ResumeQueue(name="long")
    assert all(end_of(calls, token, 60).outcome == SUCCEEDED for token in tokens)


@pytest.mark.parametrize("method", ["PauseQueue", "ResumeQueue"])
def test_a_queue_that_is_not_there_is_not_found(shared_daemon: Daemon, method: str) -> None:
    calls = shared_daemon.calls
    failures = [
        failure_of(getattr(calls, method), name="never put"),
        failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}, "queue": "never put"}),
    ]
    assert {(failure.code, failure.reason) for failure in failures} == {(grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND")}
