"""StreamEvents: in order, once, without a gap, resumable; statuses conflated beside it."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from taskmeter.v1 import event_pb2, task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, start, wait_for_output, wait_for_state


def test_from_the_first_event_to_the_last_with_nothing_missing(daemon: Daemon) -> None:
    calls = daemon.calls
    tokens = [start(calls, "true") for _ in range(50)]
    for token in tokens:
        end_of(calls, token)
    stream = calls.StreamEvents(from_seq=1)
    seen = []
    for message in stream:
        seen += [event.seq for event in message.events]
        if message.seq >= 300:
            stream.cancel()
            break
    assert seen == list(range(1, 301)), "6 events for each of 50 tasks"


def test_a_stream_resumes_exactly_where_its_message_said(daemon: Daemon) -> None:
    calls = daemon.calls
    for _ in range(10):
        end_of(calls, start(calls, "true"))
    seen: list[int] = []
    token = ""
    while len(seen) < 60:
        stream = calls.StreamEvents(resume_token=token) if token else calls.StreamEvents(from_seq=1)
        message = next(m for m in stream if m.events)
        stream.cancel()
        seen += [event.seq for event in message.events]
        token = message.resume_token
        assert message.seq >= seen[-1]
    assert seen == list(range(1, 61))


def test_a_snapshot_and_what_follows_have_no_gap(daemon: Daemon) -> None:
    calls = daemon.calls
    done = start(calls, "true")
    end_of(calls, done)
    live = start(calls, "sleep", "60")
    wait_for_state(calls, live, task_pb2.TASK_STATE_RUNNING)
    stream = calls.StreamEvents(snapshot_first=True)
    first = next(stream)
    assert {status.token: status.state for status in first.statuses} == {done: 5, live: 3}
    assert first.seq == 10 and first.resume_token and not first.events
    calls.Terminate(token=live, immediate=True)
    following: list[Any] = []
    for message in stream:
        following += message.events
        if following and following[-1].state_changed.to_state == task_pb2.TASK_STATE_CANCELLED:
            break
    stream.cancel()
    assert [event.seq for event in following] == [11, 12]
    assert following[-1].state_changed.status.outcome == task_pb2.TASK_OUTCOME_CANCELLED
    assert following[-1].state_changed.status.seq == 12


def test_until_terminal_ends_by_itself_after_the_last_event(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "exit 3")
    found = events(calls, token)
    assert [event.state_changed.to_state for event in found] == [0, 1, 2, 3, 4, 5]
    assert found[-1].state_changed.outcome == task_pb2.TASK_OUTCOME_FAILED
    assert events(calls, token) == found, "read again from the store, they are the same"


def test_filters_by_kind_tag_and_token(daemon: Daemon) -> None:
    calls = daemon.calls
    red = start(calls, "sleep", "60", tags={"colour": "red"})
    start(calls, "sleep", "60", tags={"colour": "blue"})
    wait_for_state(calls, red, task_pb2.TASK_STATE_RUNNING)
    calls.UpdateTask(token=red, set_metadata={"k": "v"})

    def first(**fields: Any) -> list[Any]:
        stream = calls.StreamEvents(from_seq=1, **fields)
        for message in stream:
            if message.events:
                stream.cancel()
                return list(message.events)
        raise AssertionError

    assert {event.token for event in first(tags={"colour": "red"})} == {red}
    [changed] = first(kinds=[event_pb2.EVENT_KIND_METADATA])
    assert changed.metadata_changed.metadata == {"k": "v"} and changed.tags == {"colour": "red"}


def test_statuses_are_conflated_and_an_idle_task_sends_none(daemon: Daemon) -> None:
    calls = daemon.calls
    token = start(calls, "sh", "-c", "echo up; read x < /dev/zero & sleep 600", merge_stderr=True)
    wait_for_output(calls, token, b"up")
    stream = calls.StreamEvents(tokens=[token], snapshot_first=True, include_status=True, status_interval_seconds=0.1)
    statuses: list[Any] = []
    for message in stream:
        statuses += message.statuses
        if len(statuses) >= 3:
            break
    stream.cancel()
    assert all(status.token == token for status in statuses)


def test_a_quiet_stream_sends_bookmarks(daemon: Daemon) -> None:
    stream = daemon.calls.StreamEvents(bookmark_interval_seconds=0.1)
    messages = [next(stream) for _ in range(3)]
    stream.cancel()
    assert all(message.bookmark and message.resume_token and not message.events for message in messages)


def test_a_task_s_output_streams_as_log_events_with_offsets(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "echo one; sleep 0.3; echo two; echo err >&2")
    chunks = [event.log for event in events(calls, token, kinds=[event_pb2.EVENT_KIND_LOG]) if event.HasField("log")]
    out = [chunk for chunk in chunks if chunk.stream == event_pb2.LOG_STREAM_STDOUT]
    assert b"".join(chunk.data for chunk in out) == b"one\ntwo\n"
    assert [chunk.offset for chunk in out] == [sum(len(c.data) for c in out[:index]) for index in range(len(out))]
    assert b"".join(chunk.data for chunk in chunks if chunk.stream == event_pb2.LOG_STREAM_STDERR) == b"err\n"


def test_many_subscribers_see_the_same_sequence(daemon: Daemon) -> None:
    calls = daemon.calls
    results: list[list[int]] = [[] for _ in range(8)]

    def follow(into: list[int]) -> None:
        stream = calls.StreamEvents(from_seq=1, timeout=60)
        for message in stream:
            into += [event.seq for event in message.events]
            if message.seq >= 240:
                stream.cancel()
                return

    threads = [threading.Thread(target=follow, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for token in [start(calls, "true") for _ in range(40)]:
        end_of(calls, token)
    for thread in threads:
        thread.join(60)
    assert all(result == list(range(1, 241)) for result in results)


@pytest.mark.parametrize(
    ("request_fields", "code", "reason"),
    [
        ({"tokens": ["tk_0000000000000000000000"]}, "NOT_FOUND", "TASK_NOT_FOUND"),
        ({"tokens": [""]}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"until_terminal": True}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"from_seq": 0}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"from_seq": 10**9}, "OUT_OF_RANGE", "SEQ_IN_FUTURE"),
        ({"resume_token": "nonsense"}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"resume_token": "0123456789abcdef.1"}, "FAILED_PRECONDITION", "STORE_CHANGED"),
        ({"status_interval_seconds": 0.01}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"bookmark_interval_seconds": float("nan")}, "INVALID_ARGUMENT", "FIELD_INVALID"),
        ({"kinds": [99]}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    shared_daemon: Daemon, request_fields: dict[str, Any], code: str, reason: str
) -> None:
    failure = failure_of(shared_daemon.calls.StreamEvents, timeout=10, **request_fields)
    assert (failure.code, failure.reason) == (getattr(grpc.StatusCode, code), reason)


def test_a_stopping_daemon_ends_streams_with_ok_and_a_place_to_resume(daemon: Daemon) -> None:
    stream = daemon.calls.StreamEvents(snapshot_first=True)
    first = next(stream)
    stopper = threading.Thread(target=daemon.process.terminate)  # type: ignore[union-attr]
    stopper.start()
    rest = list(stream)
    assert stream.code() == grpc.StatusCode.OK
    assert (rest[-1] if rest else first).resume_token
    stopper.join()
    daemon.stop()
    daemon.start()
