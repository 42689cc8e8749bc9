"""External work: accepted, queued and ended like any other, but it runs elsewhere and says itself how far it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from taskmeter.client import reports
from taskmeter.client.sync import SyncClient
from taskmeter.stores.stale import REFUSED
from taskmeter.v1 import task_pb2, usage_pb2
from tests.daemon import Daemon, clean_environment
from tests.integration.helpers import end_of, events, failure_of, moves, start, status_of, wait_for_state
from tests.integration.test_report_progress import Open, refused, report
from tests.waiting import wait_until

ROUND_TRIPS = 20
WHOLE_LIFE = [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4)]


def begin(daemon: Daemon, **spec: Any) -> tuple[str, str]:
    """Announce external work; return its token and its report key."""
    answer = daemon.calls.StartTask(spec={"external": {"kind": "render"}, **spec})
    return answer.token, answer.report_key


def outcome(status: task_pb2.TaskStatus) -> str:
    return task_pb2.TaskOutcome.Name(status.outcome).removeprefix("TASK_OUTCOME_")


def test_it_runs_without_a_process_reports_and_ends_itself(shared_daemon: Daemon) -> None:
    token, key = begin(shared_daemon, total_count=10, name="far away")
    status = wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    assert (status.pid, status.name) == (0, "far away") and status.start_time > 0
    assert report(shared_daemon, token, {"add_completed_count": 4, "status": "on it"}, key=key) == 1
    shown = wait_until(
        lambda: found if (found := status_of(shared_daemon.calls, token)).completed_count == 4 else None, "its counters"
    )
    assert (shown.total_count, shown.status) == (10, "on it")
    assert shown.metrics.source == usage_pb2.METRICS_SOURCE_EXTERNAL
    assert shown.metrics.memory_source == usage_pb2.MEMORY_SOURCE_EXTERNAL
    assert not any(shown.metrics.HasField(name) for name in ("io_read_bytes", "pss_bytes", "gpu_memory_mb", "open_file_count"))
    last = {"add_completed_count": 6, "messages": [{"level": 1, "text": "bye"}], "exit_code": 0}
    assert report(shared_daemon, token, last, key=key) == 1
    ended = end_of(shared_daemon.calls, token)
    assert (outcome(ended), ended.exit_code, ended.exit_message) == ("SUCCEEDED", 0, "exited with code 0")
    assert (ended.completed_count, ended.metrics.source) == (10, usage_pb2.METRICS_SOURCE_EXTERNAL)
    assert ended.tokens.total == 0
    assert moves(shared_daemon.calls, token) == [*WHOLE_LIFE, (4, 5)]
    assert refused(shared_daemon, token, {}, key=key).reason == "TASK_ENDED"
    assert shared_daemon.calls.GetTaskRecord(token=token).record.func_name == "render"


def test_it_fails_with_the_code_that_it_reports_and_is_not_retried(shared_daemon: Daemon) -> None:
    token, key = begin(shared_daemon)
    report(shared_daemon, token, {"exit_code": 3}, key=key)
    ended = end_of(shared_daemon.calls, token)
    assert (outcome(ended), ended.exit_code, ended.state) == ("FAILED", 3, task_pb2.TASK_STATE_COMPLETED)
    for as_new in (False, True):
        assert failure_of(shared_daemon.calls.RetryTask, token=token, as_new=as_new).reason == "NOT_RETRYABLE"
    assert failure_of(shared_daemon.calls.ReadFile, token=token, path="stdout").reason == "FILE_NOT_FOUND"


def test_it_is_initializing_until_it_says_that_it_is_ready(shared_daemon: Daemon) -> None:
    token, key = begin(shared_daemon, announces_ready=True)
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_INITIALIZING)
    report(shared_daemon, token, {"ready": True}, key=key)
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    report(shared_daemon, token, {"exit_code": 0}, key=key)
    early, early_key = begin(shared_daemon, announces_ready=True)
    report(shared_daemon, early, {"exit_code": 1}, key=early_key)
    end_of(shared_daemon.calls, early)
    assert moves(shared_daemon.calls, early) == [*WHOLE_LIFE, (4, 5)]


def test_a_stop_is_told_with_its_next_report_and_it_has_its_grace_to_end(shared_daemon: Daemon) -> None:
    token, key = begin(shared_daemon)
    report(shared_daemon, token, {"add_completed_count": 1}, key=key)
    shared_daemon.calls.Terminate(token=token, grace_period_seconds=60, reason="not wanted")
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_STOPPING)
    failure = refused(shared_daemon, token, {"add_completed_count": 1}, key=key)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_STOPPING")
    assert "not wanted" in failure.message and failure.metadata["accepted_count"] == "0"
    assert report(shared_daemon, token, {"add_completed_count": 1, "exit_code": 5}, key=key) == 1
    ended = end_of(shared_daemon.calls, token)
    assert (outcome(ended), ended.exit_code, ended.completed_count) == ("CANCELLED", 5, 2)
    assert ended.exit_message == "stopped on request (not wanted), exited with code 5"


@pytest.mark.parametrize("how", [{"immediate": True}, {"grace_period_seconds": 0.3}])
def test_one_that_does_not_answer_a_stop_is_not_waited_for(shared_daemon: Daemon, how: dict[str, Any]) -> None:
    token, key = begin(shared_daemon)
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    shared_daemon.calls.Terminate(token=token, **how)
    ended = end_of(shared_daemon.calls, token)
    assert (outcome(ended), ended.exit_code) == ("CANCELLED", -1)
    assert ended.exit_message == "stopped on request; it runs elsewhere, and did not say how it ended"
    assert moves(shared_daemon.calls, token) == [*WHOLE_LIFE, (4, 6)]
    assert refused(shared_daemon, token, {"exit_code": 0}, key=key).reason == "TASK_ENDED"


def test_a_second_stop_that_is_shorter_hurries_it(shared_daemon: Daemon) -> None:
    token, _ = begin(shared_daemon)
    wait_for_state(shared_daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    shared_daemon.calls.Terminate(token=token, grace_period_seconds=600)
    assert shared_daemon.calls.Terminate(token=token, immediate=True).already_stopping
    assert outcome(end_of(shared_daemon.calls, token)) == "CANCELLED"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [({"timeout_seconds": 0.5}, "TIMED_OUT"), ({"idle_ttl_seconds": 1.0}, "IDLE_EXPIRED")],
)
def test_its_time_runs_out_like_that_of_others(shared_daemon: Daemon, limit: dict[str, Any], expected: str) -> None:
    token, _ = begin(shared_daemon, grace_period_seconds=0.2, **limit)
    ended = end_of(shared_daemon.calls, token)
    assert (outcome(ended), ended.state) == (expected, task_pb2.TASK_STATE_CANCELLED)
    assert moves(shared_daemon.calls, token) == [*WHOLE_LIFE, (4, 6)]


def test_it_waits_for_its_turn_like_others_and_holds_its_slot(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "1").start()
    first, key = begin(daemon)
    wait_for_state(daemon.calls, first, task_pb2.TASK_STATE_RUNNING)
    second, second_key = begin(daemon)
    third = start(daemon.calls, "true")
    assert status_of(daemon.calls, second).state == task_pb2.TASK_STATE_NONE
    report(daemon, first, {"exit_code": 0}, key=key)
    report(daemon, second, {"exit_code": 0}, key=second_key)  # held until then
    assert outcome(end_of(daemon.calls, third)) == "SUCCEEDED"
    waiting, _ = begin(daemon, start_after_time=4e9)
    daemon.calls.Terminate(token=waiting)
    assert moves(daemon.calls, waiting) == [(0, 0), (0, 4), (4, 6)]


def test_a_daemon_that_dies_changes_nothing_for_it(daemon: Daemon) -> None:
    token, key = begin(daemon, total_count=10, idle_ttl_seconds=600)
    stopping, _ = begin(daemon)
    wait_for_state(daemon.calls, stopping, task_pb2.TASK_STATE_RUNNING)
    report(daemon, token, {"add_completed_count": 3, "status": "half"}, key=key)
    daemon.calls.Terminate(token=stopping, grace_period_seconds=2)
    daemon.restart()
    status = wait_until(
        lambda: found if (found := status_of(daemon.calls, token)).completed_count == 3 else None, "what was reported before"
    )
    assert (status.state, status.attempt, status.status) == (task_pb2.TASK_STATE_RUNNING, 0, "half")
    assert status.metrics.source == usage_pb2.METRICS_SOURCE_EXTERNAL
    assert outcome(end_of(daemon.calls, stopping)) == "CANCELLED"
    assert report(daemon, token, {"add_completed_count": 7, "exit_code": 0}, key=key) == 1
    assert end_of(daemon.calls, token).completed_count == 10
    assert moves(daemon.calls, token) == [*WHOLE_LIFE, (4, 5)]


def test_a_store_that_is_lost_is_built_anew_with_it(daemon: Daemon) -> None:
    live, key = begin(daemon)
    report(daemon, live, {"add_completed_count": 3}, key=key)
    ended, ended_key = begin(daemon)
    report(daemon, ended, {"exit_code": 4}, key=ended_key)
    end_of(daemon.calls, ended)
    daemon.kill9()
    for path in daemon.state_dir.glob("*.db*"):
        path.unlink()
    daemon.start()
    found = status_of(daemon.calls, ended)
    assert (outcome(found), found.exit_code) == ("FAILED", 4)
    report(daemon, live, {"add_completed_count": 1, "exit_code": 0}, key=key)
    assert end_of(daemon.calls, live).completed_count == 4


def test_a_drained_daemon_has_it_interrupted(daemon: Daemon) -> None:
    token, key = begin(daemon)
    wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    daemon.calls.Drain(grace_period_seconds=60)
    assert refused(daemon, token, {}, key=key).reason == "TASK_STOPPING"
    report(daemon, token, {"exit_code": 0}, key=key)
    assert outcome(end_of(daemon.calls, token)) == "INTERRUPTED"


def test_the_key_is_in_the_answer_to_start_task_and_again_with_the_same_idempotency_key(shared_daemon: Daemon) -> None:
    spec = {"external": {"kind": "x"}}
    first = shared_daemon.calls.StartTask(spec=spec, idempotency_key="external once")
    again = shared_daemon.calls.StartTask(spec=spec, idempotency_key="external once")
    assert (again.token, again.report_key, again.existing) == (first.token, first.report_key, True)
    assert first.report_key
    assert not shared_daemon.calls.StartTask(spec={"command": {"argv": ["true"]}}).report_key
    proof = first.report_key.split("_", 3)[3]
    said = [status_of(shared_daemon.calls, first.token), shared_daemon.calls.GetTaskRecord(token=first.token)]
    report(shared_daemon, first.token, {"exit_code": 0}, key=first.report_key)
    said += events(shared_daemon.calls, first.token)
    assert not [each for each in said if proof in str(each)]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"env": {"A": "b"}}, "spec.env"),
        ({"working_directory": "/"}, "spec.working_directory"),
        ({"stdin_data": b"x"}, "spec.stdin_data"),
        ({"retry": {"max_retries": 1}}, "spec.retry"),
        ({"requeue_on_interrupt": True}, "spec.requeue_on_interrupt"),
        ({"nice": 1}, "spec.nice"),
        ({"rlimits": {"nofile": 5}}, "spec.rlimits"),
        ({"user": "nobody"}, "spec.user"),
        ({"resources": {"memory_bytes": 2**20, "enforce": True}}, "spec.resources.enforce"),
        ({"external": {"kind": "x" * 257}}, "spec.external.kind"),
    ],
)
def test_what_only_a_process_can_have_is_refused(shared_daemon: Daemon, fields: dict[str, Any], named: str) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"external": {"kind": "x"}, **fields})
    assert (failure.reason, set(failure.fields)) == ("FIELD_INVALID", {named})


def test_no_schedule_starts_it(shared_daemon: Daemon) -> None:
    failure = failure_of(shared_daemon.calls.PutSchedule, name="x", spec={"external": {}}, timing={"every_seconds": 60.0})
    assert "spec.external" in failure.fields


def test_the_client_announces_it_and_its_key_is_in_no_repr(shared_daemon: Daemon) -> None:
    with SyncClient(shared_daemon.target, key=shared_daemon.key) as client:
        started = client.start_external("render", name="far", total_count=2)
        assert started.report_key and started.report_key not in repr(started)
        reporter = SyncClient(shared_daemon.target, key=started.report_key)
        assert reporter.report_progress(started.token, (reports.report(add=1) for _ in range(2))) == 2
        reporter.report_progress(started.token, exit_code=0)
        reporter.close()
        assert client.wait_task(started.token).completed_count == 2


@pytest.mark.guarantee("G9")
def test_g9_a_reporter_that_hangs_up_while_its_end_is_stored_has_ended_all_the_same() -> None:
    """Its call is given up in the middle of the commit; a stop that comes then must not move the task as it was before."""
    with Daemon() as daemon:
        daemon.stop()
        daemon.env = clean_environment(TASKMETER_FAILPOINTS="submit.before_commit=sleep(1500)*1+1")
        daemon.start()
        token, key = begin(daemon)
        report(daemon, token, {"add_completed_count": 1}, key=key)
        with ThreadPoolExecutor(2) as pool:
            other = pool.submit(start, daemon.calls, "true")  # the writer takes its time for this one
            wait_until(lambda: "failpoint submit.before_commit" in daemon.log(), "the writer waits")
            last = Open(daemon, token, key)
            last.feed.send(exit_code=0)
            for _ in range(ROUND_TRIPS):  # until it waits for the writer
                daemon.calls.GetServerInfo()
            last.call.cancel()
            failure = failure_of(daemon.calls.Terminate, token=token)
            last.feed.end()
            other.result()
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_ENDED")
        assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
        assert moves(daemon.calls, token) == [*WHOLE_LIFE, (4, 5)]
        assert REFUSED not in daemon.log()
