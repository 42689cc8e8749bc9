"""A queue that is deleted: only when it is empty, for good, and no task that is started into it meanwhile is lost (G1)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from taskmeter.client import Client, SyncClient
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import Failure, end_of, failure_of, start, status_of, wait_for_state
from tests.waiting import wait_until

FAILED = task_pb2.TASK_OUTCOME_FAILED


def names(calls: Calls) -> set[str]:
    return {queue.name for queue in calls.ListQueues().queues}


def counts(calls: Calls, name: str) -> tuple[int, int]:
    found = next(queue for queue in calls.ListQueues().queues if queue.name == name)
    return found.waiting_count, found.running_count


def test_only_an_empty_queue_is_deleted(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="gone", max_running_count=1)
    running = start(calls, "sleep", "600", queue="gone")
    wait_for_state(calls, running, task_pb2.TASK_STATE_RUNNING)
    waiting = start(calls, "true", queue="gone")
    failure = failure_of(calls.DeleteQueue, name="gone")
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "QUEUE_NOT_EMPTY")
    assert (failure.metadata["waiting_count"], failure.metadata["running_count"]) == ("1", "1")
    assert "taskmeter stop --queue gone" in failure.metadata["hint"]
    calls.Terminate(token=running, immediate=True)
    end_of(calls, waiting)
    wait_until(lambda: counts(calls, "gone") == (0, 0), "it is empty")
    calls.DeleteQueue(name="gone")
    assert "gone" not in names(calls)
    assert status_of(calls, waiting).queue == "gone", "what has ended stays"
    for call in (calls.DeleteQueue, calls.PauseQueue):
        assert failure_of(call, name="gone").reason == "QUEUE_NOT_FOUND"
    spec = {"command": {"argv": ["true"]}, "queue": "gone"}
    assert failure_of(calls.StartTask, spec=spec).reason == "QUEUE_NOT_FOUND"
    made = calls.PutQueue(name="gone").queue
    assert (made.max_running_count, made.paused) == (0, False), "nothing of the old one is left"
    calls.DeleteQueue(name="gone")


def test_a_wait_for_the_next_attempt_keeps_a_queue_and_an_ended_task_needs_it_back(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="between")
    token = start(calls, "false", queue="between", retry={"max_retries": 1, "delay_seconds": 3600})
    wait_until(lambda: status_of(calls, token).attempt, "its first attempt has failed")
    assert failure_of(calls.DeleteQueue, name="between").reason == "QUEUE_NOT_EMPTY"
    calls.Terminate(token=token)
    failed = start(calls, "false", queue="between")
    assert end_of(calls, failed).outcome == FAILED
    wait_until(lambda: counts(calls, "between") == (0, 0), "it is empty")
    calls.DeleteQueue(name="between")
    failure = failure_of(calls.RetryTask, token=failed)
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND")
    answer = calls.RetryTasks(queue="between")
    assert [refusal.reason for refusal in answer.refusals] == ["QUEUE_NOT_FOUND"]
    calls.PutQueue(name="between")
    assert calls.RetryTasks(queue="between").tokens == [failed]
    end_of(calls, failed)


def test_the_default_queue_and_no_name_are_refused(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="default", max_running_count=50)
    for name in ("default", ""):
        failure = failure_of(calls.DeleteQueue, name=name)
        assert (failure.reason, set(failure.fields)) == ("FIELD_INVALID", {"name"})


def test_g1_a_task_started_into_a_queue_that_is_being_deleted_is_in_it_or_refused(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    accepted: list[str] = []
    reasons: set[str] = set()

    def submit(_: int) -> None:
        try:
            accepted.append(start(calls, "true", queue="raced"))
        except grpc.RpcError as error:
            reasons.add(Failure(error).reason)

    def delete(_: int) -> None:
        try:
            calls.DeleteQueue(name="raced")
        except grpc.RpcError as error:
            reasons.add(Failure(error).reason)

    with ThreadPoolExecutor(8) as pool:
        for index in range(30):
            calls.PutQueue(name="raced")
            work = [pool.submit(delete if each == index % 4 else submit, each) for each in range(4)]
            for each in work:
                each.result()
            existing = "raced" in names(calls)
            running = [token for token in accepted if not status_of(calls, token).end_time]
            assert existing or not running, "a task without its queue"
            for token in running:
                end_of(calls, token)
    assert reasons <= {"QUEUE_NOT_FOUND", "QUEUE_NOT_EMPTY"}
    assert accepted and all(end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED for token in accepted)


def test_a_deleted_queue_comes_back_neither_with_a_restart_nor_with_a_new_database(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    for name in ("kept", "gone"):
        daemon.calls.PutQueue(name=name, max_running_count=3)
    end_of(daemon.calls, start(daemon.calls, "true"))  # without a task there is nothing to build a database from
    daemon.calls.DeleteQueue(name="gone")
    assert "gone" not in (daemon.state_dir / "queues.json").read_text()
    daemon.kill9()
    assert names(daemon.start().calls) == {"default", "kept"}
    daemon.kill9()
    for each in daemon.state_dir.glob("taskmeter.db*"):
        each.unlink()
    assert names(daemon.start().calls) == {"default", "kept"}


async def test_both_clients_delete_queues(shared_daemon: Daemon) -> None:
    with SyncClient(shared_daemon.target, key=shared_daemon.key) as client:
        client.put_queue("by sync")
        client.delete_queue("by sync")
    async with Client(shared_daemon.target, key=shared_daemon.key) as other:
        await other.put_queue("by async")
        await other.delete_queue("by async")
    assert not {"by sync", "by async"} & names(shared_daemon.calls)
