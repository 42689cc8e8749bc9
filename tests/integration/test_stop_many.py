"""A stop of many: with all that wait for a task, or of all that match a filter; whole after a crash, too (G1, G6, G9)."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from taskmeter.client import Client, SyncClient
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

CANCELLED = (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_CANCELLED)
RUNNING = task_pb2.TASK_STATE_RUNNING
STUBBORN = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")


def tree(calls: Calls, *argv: str) -> tuple[str, list[str]]:
    """One that runs; two that wait for it, one for both of those, and one for that."""
    first = start(calls, *argv, grace_period_seconds=600.0)
    left, right = (start(calls, "true", after=[first]) for _ in range(2))
    both = start(calls, "true", after=[left, right])
    return first, [left, right, both, start(calls, "true", after=[both])]


def ends(calls: Calls, tokens: list[str]) -> list[tuple[int, int]]:
    return [(status.state, status.outcome) for status in (end_of(calls, token) for token in tokens)]


def test_g6_all_that_wait_for_a_task_are_stopped_with_it_at_once(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    first, waiting = tree(calls, *STUBBORN)
    wait_for_output(calls, first, b"up")
    answer = calls.Terminate(token=first, include_dependents=True, reason="no need")
    assert (answer.dependent_count, answer.already_stopping) == (4, False)
    assert not status_of(calls, first).end_time, "it has its whole grace period"
    assert [(s.state, s.outcome) for s in (status_of(calls, token) for token in waiting)] == [CANCELLED] * 4
    last = status_of(calls, waiting[-1])
    assert last.exit_message == f"stopped on request, with task {waiting[2]}, which it waited for"
    assert moves(calls, waiting[-1]) == [(0, 0), (0, 4), (4, 6)]
    again = calls.Terminate(token=first, include_dependents=True, immediate=True)
    assert (again.dependent_count, again.already_stopping) == (0, True), "idempotent"
    assert ends(calls, [first]) == [CANCELLED]
    assert failure_of(calls.Terminate, token=first, include_dependents=True).reason == "TASK_ENDED"


def test_a_waiting_task_takes_those_behind_it_along_and_leaves_those_before_it(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    first, (left, right, both, last) = tree(calls, "sleep", "600")
    assert calls.Terminate(token=left, include_dependents=True).dependent_count == 2
    assert ends(calls, [left, both, last]) == [CANCELLED] * 3
    assert status_of(calls, right).waiting_reason == f"waits for task {first}"
    calls.Terminate(token=first, immediate=True)
    assert end_of(calls, right).outcome == task_pb2.TASK_OUTCOME_DEPENDENCY_FAILED, "without being asked, as before"


def test_what_has_started_waits_for_nobody_and_runs_on(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    first = start(calls, "true")
    end_of(calls, first)
    second = start(calls, "sleep", "600", after=[first])
    wait_for_state(calls, second, RUNNING)
    third = start(calls, "true", after=[second])
    assert failure_of(calls.Terminate, token=first, include_dependents=True).reason == "TASK_ENDED"
    assert status_of(calls, second).state == RUNNING
    assert calls.Terminate(token=second, immediate=True, include_dependents=True).dependent_count == 1
    assert ends(calls, [second, third]) == [CANCELLED] * 2


def test_g1_killed_right_after_the_commit_all_of_it_is_stopped(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    first, waiting = tree(daemon.calls, "sleep", "600")
    wait_for_state(daemon.calls, first, RUNNING)
    daemon.stop()
    plain = daemon.env
    daemon.env = {**plain, "TASKMETER_FAILPOINTS": "stop.before_order=crash*1"}
    daemon.start()
    with pytest.raises(grpc.RpcError):
        daemon.calls.Terminate(token=first, include_dependents=True)
    daemon.kill9()
    daemon.env = plain
    daemon.start()
    assert ends(daemon.calls, [first, *waiting]) == [CANCELLED] * 5
    assert status_of(daemon.calls, waiting[0]).exit_message == f"stopped on request, with task {first}, which it waited for"


def test_a_filter_stops_the_waiting_before_the_running_and_nobody_else(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "2").start()
    calls = daemon.calls
    mine = [start(calls, "sleep", "600", tags={"run": "a"}) for _ in range(6)]
    other = start(calls, "sleep", "600", tags={"run": "b"})
    behind = start(calls, "true", after=[mine[5]])
    wait_for_state(calls, mine[1], RUNNING)
    answer = calls.TerminateTasks(tags={"run": "a"}, include_dependents=True, reason="the run is over")
    assert (answer.stopped_count, answer.dependent_count) == (7, 1)
    assert set(answer.tokens) == {*mine, behind} and set(answer.tokens[:5]) == {*mine[2:], behind}
    assert ends(calls, [*mine, behind]) == [CANCELLED] * 7
    assert [len(moves(calls, token)) for token in mine[2:]] == [3] * 4, "none of them began to start"
    wait_for_state(calls, other, RUNNING)
    assert calls.TerminateTasks(tags={"run": "a"}).stopped_count == 0, "idempotent"
    assert set(failure_of(calls.TerminateTasks).fields) == {"all"}
    assert set(failure_of(calls.TerminateTasks, all=True, queue="q").fields) == {"all"}
    assert calls.TerminateTasks(all=True, immediate=True).tokens == [other]


def test_a_filter_sees_only_the_tasks_of_the_callers_tenant(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    made = calls.CreateKey(tenant="stranger", scopes=["submit", "read", "control"])
    token = start(calls, "sleep", "600", tags={"of": "default"})
    assert calls.TerminateTasks(all=True, key=made.secret).stopped_count == 0
    assert calls.TerminateTasks(tags={"of": "default"}, immediate=True).tokens == [token]


def test_a_task_between_two_attempts_is_stopped_by_filter_and_not_tried_again(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "false", name="again", retry={"max_retries": 5, "delay_seconds": 600})
    wait_until(lambda: status_of(calls, token).attempt, "its first attempt has failed")
    assert calls.TerminateTasks(name_prefix="again").tokens == [token]
    status = end_of(calls, token)
    assert ((status.state, status.outcome), status.attempt) == (CANCELLED, 1)


def test_the_command_line_and_the_client_stop_many(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    calls = daemon.calls
    first, waiting = tree(calls, "sleep", "600")
    told = daemon.cli("stop", "--dependents", "--now", first, waiting[0])
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "4 that waited for it stopped too"
    assert ends(calls, waiting) == [CANCELLED] * 4
    tagged = [start(calls, "sleep", "600", tags={"k": "v"}, name=f"job-{index}") for index in range(3)]
    assert daemon.cli("stop", "--tag", "k=v", "--name", "job-0", "--now").returncode == 0
    assert ends(calls, tagged[:1]) == [CANCELLED] and not status_of(calls, tagged[1]).end_time
    with SyncClient(daemon.target, key=daemon.key) as client:
        stopped = client.terminate_tasks(tags={"k": "v"}, immediate=True)
        assert set(stopped.tokens) == set(tagged[1:]) and stopped.stopped_count == 2
        audit = daemon.state_dir / "audit.jsonl"
        wait_until(lambda: all(token in audit.read_text() for token in tagged), "it is noted who was stopped")
        second = start(calls, "sleep", "600")
        start(calls, "true", after=[second])
        assert client.terminate(second, immediate=True, include_dependents=True) == 1
    assert "nothing to stop" in daemon.cli("stop", "--tag", "k=v").stderr


async def test_the_async_client_stops_many(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    first, waiting = tree(calls, "sleep", "600")
    async with Client(shared_daemon.target, key=shared_daemon.key) as client:
        assert await client.terminate(first, immediate=True, include_dependents=True) == 4
        other = start(calls, "sleep", "600", project_id="of the async client")
        stopped = await client.terminate_tasks(project_id="of the async client", immediate=True)
    assert (stopped.tokens, stopped.stopped_count, stopped.dependent_count) == ((other,), 1, 0)
    assert ends(calls, [first, *waiting, other]) == [CANCELLED] * 6
