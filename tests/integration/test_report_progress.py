"""ReportProgress: work in any language says how far it is, with a key that opens nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from taskmeter.client.sync import SyncClient
from taskmeter.errors import InvalidArgumentError, PreconditionError
from taskmeter.rpc.scopes import METHOD_SCOPES
from taskmeter.v1 import event_pb2, task_pb2
from taskmeter.v1 import task_service_pb2 as pb
from tests.daemon import Daemon, clean_environment
from tests.integration.helpers import end_of, events, failure_of, start, status_of, wait_for_output, wait_for_state
from tests.integration.test_tenants import invoke
from tests.waiting import wait_until

REPORT = "/taskmeter.v1.TaskService/ReportProgress"
SAY_KEY = ["sh", "-c", "echo $TASKMETER_REPORT_KEY; exec sleep 600"]


def report(daemon: Daemon, token: str, *reports: dict[str, Any], key: str | None = None) -> int:
    """Send reports in one stream; return how many were taken in."""
    requests = [pb.ReportProgressRequest(token=token if n == 0 else "", **each) for n, each in enumerate(reports)]
    return int(daemon.calls.ReportProgress(request=iter(requests), key=key, timeout=20).accepted_count)


def refused(daemon: Daemon, token: str, *reports: dict[str, Any], key: str | None = None) -> Any:
    requests = [pb.ReportProgressRequest(token=token if n == 0 else "", **each) for n, each in enumerate(reports)]
    return failure_of(daemon.calls.ReportProgress, request=iter(requests), key=key, timeout=20)


def running(daemon: Daemon, **spec: Any) -> tuple[str, str]:
    """Start a task that sleeps; return its token and its report key."""
    token = start(daemon.calls, *SAY_KEY, **spec)
    return token, wait_for_output(daemon.calls, token, b"\n").decode().strip()


class Feed(Iterator[pb.ReportProgressRequest]):
    """Reports that are sent when the test says so."""

    def __init__(self, token: str) -> None:
        self._queue: SimpleQueue[pb.ReportProgressRequest | None] = SimpleQueue()
        self._token = token

    def send(self, **fields: Any) -> None:
        self._queue.put(pb.ReportProgressRequest(token=self._token, **fields))

    def end(self) -> None:
        self._queue.put(None)

    def __next__(self) -> pb.ReportProgressRequest:
        found = self._queue.get()
        if found is None:
            raise StopIteration
        return found


class Open:
    """A stream of reports that stays open."""

    def __init__(self, daemon: Daemon, token: str, key: str) -> None:
        self.feed = Feed(token)
        method = daemon.channel.stream_unary(
            REPORT,
            request_serializer=pb.ReportProgressRequest.SerializeToString,
            response_deserializer=pb.ReportProgressResponse.FromString,
        )
        self.call: Any = method.future(self.feed, metadata=(("authorization", f"Bearer {key}"),), timeout=60)


def test_a_report_about_a_task_that_memory_does_not_have_yet_does_not_stop_the_daemon() -> None:
    with Daemon() as daemon:
        daemon.stop()
        daemon.env = clean_environment(TASKMETER_FAILPOINTS="submit.after_commit=sleep(1500)*1")
        daemon.start()
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(start, daemon.calls, "true", start_after_time=4e9)
            listed = wait_until(lambda: daemon.calls.ListTasks().tasks, "it is on disk")
            early = Open(daemon, listed[0].token, daemon.key)
            early.feed.send(status="early")
            assert begun.result() == listed[0].token
        assert daemon.calls.GetServerInfo(timeout=5).waiting_count == 1
        early.call.cancel()
        early.feed.end()


def test_counters_texts_and_readiness_show_in_the_status_and_in_the_end(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon, announces_ready=True)
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_INITIALIZING)
    first = {"set_total_count": 10, "set_total_size": 1000, "status": "sorting", "current_object": "a.csv"}
    assert report(shared_daemon, token, first, {"add_completed_count": 4, "add_completed_size": 400}, key=key) == 2
    assert (
        report(shared_daemon, token, {"add_failed_count": 1, "add_failed_size": 50, "ready": True, "set_total_count": 6}, key=key)
        == 1
    )
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_RUNNING)

    def counts(status: task_pb2.TaskStatus) -> tuple[Any, ...]:
        done = (status.total_count, status.completed_count, status.failed_count)
        return (*done, status.total_size, status.completed_size, status.failed_size, status.status, status.current_object)

    wanted = (6, 4, 1, 1000, 400, 50, "sorting", "a.csv")
    wait_until(lambda: counts(status_of(shared_daemon.calls, token)) == wanted, "the counters in the status")
    shared_daemon.calls.Terminate(token=token, immediate=True)
    assert counts(end_of(shared_daemon.calls, token)) == wanted


def test_what_the_work_counts_in_its_own_block_is_added(shared_daemon: Daemon) -> None:
    code = "from taskmeter.work import current\ncurrent().add(5)\nprint('up', flush=True)\nimport time\ntime.sleep(600)"
    env = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    token = start(shared_daemon.calls, sys.executable, "-c", code, env=env)
    wait_for_output(shared_daemon.calls, token, b"up")
    report(shared_daemon, token, {"add_completed_count": 2})
    wait_until(lambda: status_of(shared_daemon.calls, token).completed_count == 7, "the sum of both")
    shared_daemon.calls.Terminate(token=token, immediate=True)
    assert end_of(shared_daemon.calls, token).completed_count == 7


def test_messages_items_and_steps_are_durable_events_when_they_are_acknowledged(daemon: Daemon) -> None:
    token, key = running(daemon)
    said = {
        "messages": [{"level": 2, "text": "low on paint"}],
        "items": [{"item_id": {"text": "a"}, "status": 2, "stage": "draw", "metadata": {"x": "y"}}],
        "steps": [{"item_id": {"number": 7}, "step": "ink", "type": 1}],
    }
    assert report(daemon, token, said, key=key) == 1
    daemon.restart()  # kill -9
    daemon.calls.Terminate(token=token, immediate=True)
    end_of(daemon.calls, token)
    kinds = [event_pb2.EVENT_KIND_ITEM, event_pb2.EVENT_KIND_STEP, event_pb2.EVENT_KIND_MESSAGE]
    found = events(daemon.calls, token, kinds=kinds)
    assert [event.WhichOneof("payload") for event in found] == ["message", "item_changed", "step"]
    assert [event.seq for event in found] == list(range(found[0].seq, found[0].seq + 3))
    assert found[0].message.text == "low on paint"
    assert (found[1].item_changed.item_id.text, dict(found[1].item_changed.metadata)) == ("a", {"x": "y"})
    assert (found[2].step.item_id.number, found[2].step.step) == (7, "ink")


def test_a_report_key_opens_reporting_on_its_own_task_and_nothing_else(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon)
    other, other_key = running(shared_daemon)
    for path in sorted(METHOD_SCOPES):
        if path != REPORT:
            failure = invoke(shared_daemon, path, key)
            expected = "NOT_BUILT" if failure.reason == "NOT_BUILT" else "SCOPE_MISSING"
            assert failure.reason == expected, path
    failure = refused(shared_daemon, other, {"add_completed_count": 1}, key=key)
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    forged = "_".join([*key.split("_", 3)[:3], other_key.split("_", 3)[3]])
    failure = refused(shared_daemon, token, {"add_completed_count": 1}, key=forged)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
    assert report(shared_daemon, token, {"add_completed_count": 1}, key=key) == 1
    for each in (token, other):
        shared_daemon.calls.Terminate(token=each, immediate=True)


def test_it_is_worth_nothing_once_its_attempt_has_ended(daemon: Daemon) -> None:
    script = "echo $TASKMETER_REPORT_KEY; [ $TASKMETER_ATTEMPT = 0 ] && exit 1; exec sleep 600"
    token = start(daemon.calls, "sh", "-c", script, retry={"max_retries": 1})
    wait_until(lambda: status_of(daemon.calls, token).attempt == 1, "the next attempt")
    read = daemon.calls.ReadFile(token=token, path="stdout", attempt=0)
    old = b"".join(part.data for part in read).decode().strip()
    failure = refused(daemon, token, {"add_completed_count": 1}, key=old)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_ENDED")
    new = wait_for_output(daemon.calls, token, b"\n").decode().strip()
    assert new != old
    assert report(daemon, token, {"add_completed_count": 1}, key=new) == 1
    daemon.calls.Terminate(token=token, immediate=True)
    end_of(daemon.calls, token)
    failure = refused(daemon, token, {"add_completed_count": 1}, key=new)
    assert (failure.reason, failure.metadata["outcome"]) == ("TASK_ENDED", "TASK_OUTCOME_CANCELLED")
    assert refused(daemon, token, {}).reason == "TASK_ENDED", "with the key of the service, too"


def test_a_report_is_taken_in_whole_or_not_at_all_and_the_error_says_how_many_were(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon)
    good, bad = {"add_completed_count": 1}, {"add_completed_count": 1, "add_failed_size": -1, "items": [{"status": 3}]}
    failure = refused(shared_daemon, token, good, good, bad, good, key=key)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(failure.fields) == {"add_failed_size", "items[0].item_id"}
    assert failure.metadata["accepted_count"] == "2"
    too_much = {"add_completed_count": 2**62 - 1, "messages": [{"level": 1, "text": "never said"}]}
    failure = refused(shared_daemon, token, too_much, key=key)
    assert set(failure.fields) == {"add_completed_count"}
    failure = refused(shared_daemon, token, {"exit_code": 0}, key=key)
    assert set(failure.fields) == {"exit_code"}
    wait_until(lambda: status_of(shared_daemon.calls, token).completed_count == 2, "what was taken in")
    shared_daemon.calls.Terminate(token=token, immediate=True)
    assert end_of(shared_daemon.calls, token).completed_count == 2
    assert not events(shared_daemon.calls, token, kinds=[event_pb2.EVENT_KIND_MESSAGE])


def test_a_stream_may_stay_open_and_what_it_sent_shows_before_it_ends(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon)
    stream = Open(shared_daemon, token, key)
    for count in range(1, 4):
        stream.feed.send(add_completed_count=1)
        wait_until(lambda: status_of(shared_daemon.calls, token).completed_count == count, "the newest report")  # noqa: B023
    stream.feed.end()
    assert stream.call.result().accepted_count == 3
    shared_daemon.calls.Terminate(token=token, immediate=True)


def test_a_daemon_that_stops_says_how_many_it_has_and_keeps_them(daemon: Daemon) -> None:
    token, key = running(daemon)
    stream = Open(daemon, token, key)
    for _ in range(2):
        stream.feed.send(add_completed_count=1, messages=[{"level": 1, "text": "x"}])
    wait_until(lambda: status_of(daemon.calls, token).completed_count == 2, "both reports")
    channel, daemon._channel = daemon._channel, None  # the stream goes on, to its end
    daemon.stop()
    with pytest.raises(grpc.RpcError):
        stream.call.result(timeout=20)
    failure = failure_of(stream.call.result)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert failure.metadata["accepted_count"] == "2"
    assert channel is not None
    channel.close()
    daemon.start()
    assert report(daemon, token, {"add_completed_count": 1}, key=key) == 1, "the key is good as before"
    wait_until(lambda: status_of(daemon.calls, token).completed_count == 3, "all of them")
    daemon.calls.Terminate(token=token, immediate=True)


def test_a_connection_that_breaks_takes_nothing_back(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon)
    stream = Open(shared_daemon, token, key)
    stream.feed.send(add_completed_count=3, messages=[{"level": 1, "text": "kept"}])
    wait_until(lambda: status_of(shared_daemon.calls, token).completed_count == 3, "the report")
    stream.call.cancel()
    shared_daemon.calls.Terminate(token=token, immediate=True)
    assert end_of(shared_daemon.calls, token).completed_count == 3
    assert len(events(shared_daemon.calls, token, kinds=[event_pb2.EVENT_KIND_MESSAGE])) == 1


def test_a_report_about_a_task_that_waits_is_held_until_it_has_its_turn(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "1").start()
    first, second = start(daemon.calls, "sleep", "600"), start(daemon.calls, "sleep", "600")
    stream = Open(daemon, second, daemon.key)
    stream.feed.send(add_completed_count=1)
    stream.feed.end()
    third = Open(daemon, start(daemon.calls, "sleep", "600"), daemon.key)
    third.feed.send(add_completed_count=1)
    assert not stream.call.done()
    daemon.calls.Terminate(token=third.feed._token)
    assert failure_of(third.call.result).reason == "TASK_ENDED"
    daemon.calls.Terminate(token=first, immediate=True)
    assert stream.call.result(timeout=20).accepted_count == 1
    daemon.calls.Terminate(token=second, immediate=True)


def test_a_report_is_a_sign_of_work(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon, idle_ttl_seconds=1.5)
    begin = status_of(shared_daemon.calls, token).start_time

    def alive_for_long() -> bool:
        report(shared_daemon, token, {}, key=key)
        now = shared_daemon.calls.GetTaskStatus(token=token).status
        return bool(now.metrics.sample_time - begin > 4.0)

    wait_until(alive_for_long, "more than twice its time to live")
    assert end_of(shared_daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_IDLE_EXPIRED


def test_streams_of_a_report_key_are_bounded_and_outlive_a_change_of_keys(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(env={"TASKMETER_MAX_STREAMS": "2"}).start()
    token, key = running(daemon)
    streams = [Open(daemon, token, key) for _ in range(2)]
    for stream in streams:
        stream.feed.send(add_completed_count=1)
    wait_until(lambda: status_of(daemon.calls, token).completed_count == 2, "both streams")
    assert refused(daemon, token, {}, key=key).reason == "TOO_MANY_STREAMS"
    daemon.calls.RevokeKey(key_id=daemon.calls.CreateKey(scopes=["read"]).key.key_id)
    for stream in streams:
        stream.feed.end()
        assert stream.call.result(timeout=20).accepted_count == 1
    daemon.calls.Terminate(token=token, immediate=True)


def test_the_report_key_is_in_no_log_and_no_answer(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(env={"TASKMETER_LOG_LEVEL": "debug", "TASKMETER_AUDIT": "all"}).start()
    token, key = running(daemon)
    report(daemon, token, {"add_completed_count": 1}, key=key)
    refused(daemon, token, {"add_completed_count": -1}, key=key)
    invoke(daemon, "/taskmeter.v1.TaskService/GetTaskStatus", key, token=token)
    proof = key.split("_", 3)[3]
    said = [
        daemon.log(),
        str(status_of(daemon.calls, token)),
        str(daemon.calls.GetTaskRecord(token=token)),
        str(daemon.calls.ListKeys()),
    ]
    assert not [text for text in said if proof in text]
    holders = [
        path
        for path in daemon.state_dir.rglob("*")
        if path.is_file() and path.name not in {"stdout", "stderr"} and proof.encode() in path.read_bytes()
    ]
    assert not holders
    daemon.calls.Terminate(token=token, immediate=True)


def test_the_client_reports_once_or_as_a_stream(shared_daemon: Daemon) -> None:
    from taskmeter.client import reports

    token, key = running(shared_daemon)
    client = SyncClient(shared_daemon.target, key=key)  # it may not ask the daemon about itself, as `with` does
    with SyncClient(shared_daemon.target, key=shared_daemon.key) as owner:
        assert owner.report_progress(token, total=5, messages=[reports.message("hello", "warning")]) == 1
        stream = (reports.report(add=1, items=[reports.item(n, "completed")]) for n in range(3))
        assert owner.report_progress(token, stream) == 3
        assert client.report_progress(token, add=1, count={"rows": 2}) == 1
        with pytest.raises(InvalidArgumentError) as caught:
            owner.report_progress(token, [reports.report(add=1), reports.report(add=-1)])
        assert (caught.value.metadata["accepted_count"], caught.value.fields[0][0]) == ("1", "add_completed_count")
        owner.terminate(token, immediate=True)
        assert owner.wait_task(token).completed_count == 5
        with pytest.raises(PreconditionError):
            owner.report_progress(token, add=1)
    client.close()


async def test_the_asynchronous_client_does_likewise(shared_daemon: Daemon) -> None:
    from taskmeter.client import reports
    from taskmeter.client.aio import Client

    token, _ = running(shared_daemon)
    client = Client(shared_daemon.target, key=shared_daemon.key)

    async def stream() -> Any:
        for _ in range(3):
            yield reports.report(add=1)

    assert await client.report_progress(token, status="on") == 1
    assert await client.report_progress(token, stream()) == 3
    assert await client.report_progress(token, [reports.report(add=1)]) == 1
    with pytest.raises(InvalidArgumentError):
        await client.report_progress(token, add=-1)
    await client.terminate(token, immediate=True)
    assert (await client.wait_task(token)).completed_count == 4
    await client.close()


def test_a_report_key_calls_no_more_often_than_a_key_may(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(env={"TASKMETER_CALLS_PER_SECOND": "0.01", "TASKMETER_CALLS_BURST": "2"}).start()
    token, key = running(daemon)
    assert [report(daemon, token, {}, {}, {}, key=key) for _ in range(2)] == [3, 3], "calls are counted, not reports"
    assert refused(daemon, token, {}, key=key).reason == "RATE_LIMITED"
    daemon.calls.Terminate(token=token, immediate=True)


def test_items_and_messages_are_what_the_task_has_to_show_afterwards(shared_daemon: Daemon) -> None:
    token, key = running(shared_daemon)
    items = [{"item_id": {"text": name}, "status": status, "stage": "draw"} for name, status in (("a", 3), ("b", 4), ("a", 4))]
    said = [{"level": 3, "text": "no ink"}, {"level": 2, "text": "low"}, {"level": 2, "text": "lower"}]
    report(shared_daemon, token, {"items": items[:2], "messages": said[:2]}, {"items": items[2:], "messages": said[2:]}, key=key)
    status = status_of(shared_daemon.calls, token)
    assert (list(status.errors), list(status.warnings)) == (["no ink"], ["low", "lower"])
    assert (status.error_count, status.warning_count) == (1, 2)
    found = shared_daemon.calls.GetItem(token=token, item_id={"text": "a"}).item
    assert (found.status, found.stage) == (4, "draw")
    assert len(shared_daemon.calls.GetItemHistory(token=token, item_id={"text": "a"}).events) == 2
    shared_daemon.calls.Terminate(token=token, immediate=True)
