"""GetTaskStatus, ListTasks, WaitTask, UpdateTask, DeleteTask, RetryTask, GetTaskRecord."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.v1 import event_pb2, task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, moves, read, start, status_of, wait_for_state
from tests.waiting import wait_until

UNKNOWN = "tk_0000000000000000000000"


@pytest.mark.parametrize(
    "method", ["GetTaskStatus", "GetTaskRecord", "Terminate", "RetryTask", "WaitTask", "UpdateTask", "DeleteTask", "ReadFile"]
)
def test_unknown_and_empty_tokens(shared_daemon: Daemon, method: str) -> None:
    call = getattr(shared_daemon.calls, method)
    more = {"path": "stdout"} if method == "ReadFile" else {}
    for token in (UNKNOWN, "nonsense", "tk_../../etc/passwd"):
        failure = failure_of(call, token=token, **more)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    failure = failure_of(call, token="", **more)
    assert (failure.code, failure.fields.get("token")) == (grpc.StatusCode.INVALID_ARGUMENT, "must not be empty")


def test_pages_are_complete_newest_first_and_bound_to_their_filter(daemon: Daemon) -> None:
    calls = daemon.calls
    tokens = [start(calls, "true", name=f"n{number}", tags={"parity": str(number % 2)}) for number in range(25)]
    for token in tokens:
        end_of(calls, token)
    seen: list[str] = []
    page_token = ""
    while True:
        page = calls.ListTasks(page_size=10, page_token=page_token)
        seen += [task.token for task in page.tasks]
        assert page.total_count == 25 and page.seq == 150
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == tokens[::-1]
    first = calls.ListTasks(page_size=10)
    failure = failure_of(calls.ListTasks, page_size=10, page_token=first.next_page_token, name_prefix="n")
    assert "page_token" in failure.fields
    assert failure_of(calls.ListTasks, page_token="%%%").fields and failure_of(calls.ListTasks, page_size=1001).fields
    odd = calls.ListTasks(tags={"parity": "1"}, name_prefix="n1", outcomes=[task_pb2.TASK_OUTCOME_SUCCEEDED])
    assert {task.name for task in odd.tasks} == {"n1", "n11", "n13", "n15", "n17", "n19"}
    assert not calls.ListTasks(states=[task_pb2.TASK_STATE_RUNNING]).tasks


def test_waiting_is_for_states_or_the_end_and_for_no_longer_than_asked(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "60")
    assert wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING).pid > 0
    assert calls.WaitTask(token=token, timeout_seconds=0.05).timed_out
    calls.Terminate(token=token, immediate=True)
    answer = calls.WaitTask(token=token, states=[task_pb2.TASK_STATE_NONE], timeout_seconds=20)
    assert not answer.timed_out and answer.status.completed, "the end is always an answer"
    assert failure_of(calls.WaitTask, token=token, states=[77]).fields == {"states[0]": "is not a state"}


def test_metadata_and_tags_merge_delete_and_replace_with_an_event_each(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "60", tags={"a": "1"}, metadata={"x": "1", "y": "2"})
    status = calls.UpdateTask(token=token, set_metadata={"z": "3"}, delete_metadata=["x"], set_tags={"b": "2"}).status
    assert (dict(status.metadata), dict(status.tags)) == ({"y": "2", "z": "3"}, {"a": "1", "b": "2"})
    status = calls.UpdateTask(token=token, set_metadata={"only": "1"}, replace_metadata=True, delete_tags=["a", "none"]).status
    assert (dict(status.metadata), dict(status.tags)) == ({"only": "1"}, {"b": "2"})
    calls.UpdateTask(token=token)
    wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    assert failure_of(calls.UpdateTask, token=token, priority=3).code == grpc.StatusCode.FAILED_PRECONDITION
    assert failure_of(calls.UpdateTask, token=token, set_tags={str(n): "" for n in range(64)}).reason == "FIELD_INVALID"
    calls.Terminate(token=token, immediate=True)
    changes = [event for event in events(calls, token) if event.HasField("metadata_changed")]
    assert [dict(event.metadata_changed.metadata) for event in changes] == [{"y": "2", "z": "3"}, {"only": "1"}]
    assert dict(status_of(calls, token).metadata) == {"only": "1"}, "kept after the end"
    assert dict(calls.UpdateTask(token=token, set_tags={"late": "1"}).status.tags) == {"b": "2", "late": "1"}


def test_the_priority_of_a_waiting_task_changes_its_place(make_daemon: Any) -> None:
    calls = make_daemon("--max-running", "1").start().calls
    start(calls, "sleep", "60")
    first, second = start(calls, "true"), start(calls, "true")
    assert calls.UpdateTask(token=second, priority=1).status.queue_position == 0
    assert status_of(calls, first).queue_position == 1


def test_delete_takes_row_and_files_and_says_so_in_an_event(daemon: Daemon) -> None:
    calls = daemon.calls
    token = start(calls, "sleep", "60")
    failure = failure_of(calls.DeleteTask, token=token)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_TERMINAL")
    calls.Terminate(token=token, immediate=True)
    end_of(calls, token)
    assert list(Path(daemon.state_dir, "tasks").glob(f"*/{token}"))
    calls.DeleteTask(token=token)
    assert failure_of(calls.GetTaskStatus, token=token).code == grpc.StatusCode.NOT_FOUND
    assert not list(Path(daemon.state_dir, "tasks").glob(f"*/{token}"))
    stream = calls.StreamEvents(from_seq=1, kinds=[event_pb2.EVENT_KIND_DELETED])
    deleted = next(message for message in stream if message.events).events[0]
    stream.cancel()
    assert deleted.token == token and deleted.HasField("task_deleted")


def test_a_failed_task_runs_again_as_its_next_attempt(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    code = "echo $TASKMETER_ATTEMPT; exit $((1 - TASKMETER_ATTEMPT))"
    token = start(calls, "sh", "-c", code)
    first = end_of(calls, token)
    assert (first.outcome, first.attempt) == (task_pb2.TASK_OUTCOME_FAILED, 0)
    assert calls.RetryTask(token=token).token == token
    second = end_of(calls, token)
    assert (second.outcome, second.attempt, second.retries_used) == (task_pb2.TASK_OUTCOME_SUCCEEDED, 1, 0)
    assert second.start_time > first.start_time and second.create_time == first.create_time
    assert second.tokens.cpu_ns > first.tokens.cpu_ns > 0, "tokens accumulate over all attempts"
    assert second.metrics.cpu_time_ns < second.tokens.cpu_ns, "metrics are of the current attempt"
    assert (read(calls, token), read(calls, token, attempt=0)) == (b"1\n", b"0\n")
    assert moves(calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_what_succeeded_or_was_stopped_is_retried_only_as_a_new_task(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    done = start(calls, "true", tags={"t": "1"}, name="again")
    end_of(calls, done)
    stopped = start(calls, "sleep", "60")
    assert failure_of(calls.RetryTask, token=stopped).reason == "NOT_RETRYABLE"
    calls.Terminate(token=stopped, immediate=True)
    end_of(calls, stopped)
    for token in (done, stopped):
        failure = failure_of(calls.RetryTask, token=token)
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_RETRYABLE")
    copy = calls.RetryTask(token=done, as_new=True)
    assert copy.token != done and (copy.status.name, dict(copy.status.tags)) == ("again", {"t": "1"})
    assert end_of(calls, copy.token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED


def test_a_record_shows_the_work_and_its_failure_but_no_environment(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "exit 9", env={"SECRET": "hunter2"})
    end_of(calls, token)
    record = calls.GetTaskRecord(token=token).record
    assert (record.func_name, json.loads(record.args_json)) == ("sh", ["-c", "exit 9"])
    assert record.error == "exited with code 9" and record.status.token == token
    assert "hunter2" not in str(record)


def test_a_long_list_of_large_tasks_is_cut_below_two_megabytes(daemon: Daemon) -> None:
    calls = daemon.calls
    metadata = {str(number): "x" * 4000 for number in range(30)}
    tokens = {start(calls, "true", metadata=metadata) for _ in range(30)}
    wait_until(lambda: calls.GetServerInfo().running_count == 0, "all have ended")
    seen, page_token = set(), ""
    while True:
        page = calls.ListTasks(page_size=1000, page_token=page_token)
        assert page.ByteSize() < 2_100_000
        seen |= {task.token for task in page.tasks}
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == tokens
