"""A background-task manager's statuses, retries, interruption and requeue: the same words and defaults, and what it got wrong.

There, retries counted only in memory, a shutdown forgot what waited, a requeued task bypassed the limit of running ones, a retry
dropped tags and priority, and a task between two attempts counted as running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskmeter import Outcome, RetryPolicy, State, SyncClient, TaskStatus
from taskmeter.client.requests import STATUS_WORDS
from taskmeter.model.state import FINAL_STATE
from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.waiting import wait_until

WORDS = {"pending", "running", "success", "failed", "interrupted", "cancelled", "rejected"}
LOOP = "echo up; while :; do sleep 0.02; done"


@pytest.fixture(scope="module")
def client(shared_daemon: Daemon) -> Iterator[SyncClient]:
    with SyncClient(state_dir=str(shared_daemon.state_dir)) as connected:
        yield connected


def status(state: State, outcome: Outcome = Outcome.UNSPECIFIED) -> TaskStatus:
    message = task_pb2.TaskStatus(completed=state in (State.COMPLETED, State.CANCELLED))
    message.state = int(state)  # type: ignore[assignment]
    message.outcome = int(outcome)  # type: ignore[assignment]
    return TaskStatus.of(message)


def wait_for(client: SyncClient, token: str, word: str) -> TaskStatus:
    """Wait until the task's simple status is `word`."""

    def reached() -> TaskStatus | None:
        found = client.get_task_status(token)
        return found if found.simple_status == word else None

    return wait_until(reached, word)


# ------------------------------------------------------------------------------------------------------------ statuses


def test_every_state_and_outcome_has_exactly_one_of_the_words() -> None:
    assert status(State.NONE).simple_status == "pending"
    for state in (State.STARTING, State.INITIALIZING, State.RUNNING, State.STOPPING):
        assert status(state).simple_status == "running"
    assert {status(FINAL_STATE[outcome], outcome).simple_status for outcome in Outcome} == WORDS - {"pending", "running"}
    assert status(State.COMPLETED, Outcome.SUCCEEDED).simple_status == "success"
    assert [outcome for outcome in Outcome if status(FINAL_STATE[outcome], outcome).simple_status == "success"] == [
        Outcome.SUCCEEDED
    ]


def test_filters_accept_the_words_and_agree_with_them() -> None:
    assert set(STATUS_WORDS) >= WORDS
    for outcome in set(Outcome) - {Outcome.UNSPECIFIED}:
        word = status(FINAL_STATE[outcome], outcome).simple_status
        assert [other for other in WORDS if outcome in STATUS_WORDS[other][1]] == [word]
    for state in State:
        if state not in (State.COMPLETED, State.CANCELLED):
            assert [other for other in WORDS if state in STATUS_WORDS[other][0]] == [status(state).simple_status]


def test_real_tasks_have_the_words_and_are_found_by_them(client: SyncClient) -> None:
    tags = {"group": "words"}
    done = client.start(["true"], tags=tags).token
    failed = client.start(["false"], tags=tags).token
    cancelled = client.start(["sleep", "60"], tags=tags).token
    client.terminate(cancelled, immediate=True)
    pending = client.start(["false"], tags=tags, retry=RetryPolicy(max_retries=1, delay_seconds=3600)).token
    running = client.start(["sleep", "60"], tags=tags).token
    expected = {"success": done, "failed": failed, "cancelled": cancelled, "pending": pending, "running": running}
    for word, token in expected.items():
        if word == "pending":  # also for a moment before its first attempt
            wait_until(lambda: client.get_task_status(pending).attempt == 1, "its retry")
        wait_for(client, token, word)
    for word, token in expected.items():
        assert [found.token for found in client.list_tasks(status=word, tags=tags)] == [token]
    for token in (pending, running):
        client.terminate(token, immediate=True)


def test_waiting_for_a_retry_or_a_slot_is_told_apart_from_running_and_from_each_other(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "1").start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        retried = client.start(["false"], retry=RetryPolicy(max_retries=2, delay_seconds=3600)).token
        wait_until(lambda: client.get_task_status(retried).attempt == 1, "its retry")
        client.start(["sleep", "60"])
        queued = client.start(["true"]).token
        for token, reason in ((retried, "retry 1 of 2 in "), (queued, "waiting for a free slot: 1 of 1 run")):
            found = client.get_task_status(token)
            assert found.simple_status == "pending"
            assert found.waiting_reason.startswith(reason)


# ------------------------------------------------------------------------------------------------------------- retries


def test_nothing_is_retried_or_requeued_by_default(client: SyncClient) -> None:
    assert (RetryPolicy().max_retries, RetryPolicy().delay_seconds, RetryPolicy().backoff) == (0, 0.0, 1.0)
    ended = client.wait_task(client.start(["false"]).token)
    assert (ended.attempt, ended.retries_used, ended.max_retries) == (0, 0, 0)


def test_retries_are_counted_and_delayed_by_a_growing_wait(client: SyncClient) -> None:
    policy = RetryPolicy(max_retries=3, delay_seconds=0.1, backoff=2.0)
    token = client.start(["sh", "-c", "exit $((3 - TASKMETER_ATTEMPT))"], retry=policy).token
    ended = client.wait_task(token)
    assert (ended.simple_status, ended.retries_used, ended.attempt) == ("success", 3, 3)
    moves = [
        (event.time, event.state_changed.to_state)
        for event in client.events([token], from_seq=1, until_terminal=True)
        if event.state_changed
    ]
    ends = [time for time, state in moves[1:] if state is State.NONE]
    starts = [time for time, state in moves if state is State.STARTING][1:]
    waits = [begin - end for begin, end in zip(starts, ends, strict=True)]
    assert all(wait >= least - 0.005 for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)), waits


def test_a_retry_by_hand_keeps_the_record_the_tags_and_the_priority(client: SyncClient) -> None:
    token = client.start(["false"], tags={"a": "b"}, metadata={"m": "n"}).token
    first = client.wait_task(token)
    client.retry_task(token)
    second = client.wait_task(token)
    assert (second.token, second.attempt, second.create_time) == (token, 1, first.create_time)
    assert (second.tags, second.metadata) == ({"a": "b"}, {"m": "n"})


def test_tags_are_on_every_event_of_every_attempt(client: SyncClient) -> None:
    token = client.start(["false"], tags={"a": "b"}, retry=RetryPolicy(max_retries=1)).token
    found = list(client.events([token], from_seq=1, until_terminal=True))
    assert {event.attempt for event in found} == {0, 1}
    assert all(event.tags == {"a": "b"} for event in found)


# ------------------------------------------------------------------------------------------- interruption and requeue


def test_a_drain_interrupts_or_requeues_and_nothing_is_lost_over_the_restart(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "2").start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        plain = client.start(["sh", "-c", LOOP]).token
        again = client.start(["sh", "-c", f"[ $TASKMETER_ATTEMPT = 0 ] || exit 0; {LOOP}"], requeue_on_interrupt=True).token
        waiting = client.start(["true"], tags={"a": "b"}).token
        for token in (plain, again):
            wait_for(client, token, "running")
        client.drain()
        wait_for(client, plain, "interrupted")
        assert wait_for(client, again, "pending").attempt == 1
        assert client.get_task_status(waiting).simple_status == "pending"
        assert [found.token for found in client.list_tasks(status="interrupted")] == [plain]
    daemon.stop()
    daemon.start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        assert client.wait_task(again).simple_status == "success"
        ended = client.wait_task(waiting)
        assert (ended.simple_status, ended.tags) == ("success", {"a": "b"})
        assert client.get_task_status(plain).simple_status == "interrupted"


def test_requeued_work_keeps_to_the_limit_of_running_tasks(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("--max-running", "3").start()
    script = f"[ $TASKMETER_ATTEMPT = 0 ] && {{ {LOOP}; }}; exec sleep 60"
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        tokens = [client.start(["sh", "-c", script], requeue_on_interrupt=True).token for _ in range(3)]
        for token in tokens:
            wait_for(client, token, "running")
        client.drain()
        for token in tokens:
            wait_for(client, token, "pending")
    daemon.stop()
    daemon.options = ("--max-running", "1")
    daemon.start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        wait_until(lambda: any(client.get_task_status(token).state is State.RUNNING for token in tokens), "one runs")
        assert sorted(client.get_task_status(token).simple_status for token in tokens) == ["pending", "pending", "running"]


def test_a_restart_of_the_daemon_alone_interrupts_nothing(make_daemon: Callable[..., Daemon]) -> None:
    """Guarantee G4; there, one instance's shutdown ended or wiped what another one ran."""
    daemon = make_daemon().start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        token = client.start(["sleep", "60"]).token
        before = wait_until(lambda: (found := client.get_task_status(token)).state is State.RUNNING and found, "it runs")
    daemon.stop()
    daemon.start()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        after = client.get_task_status(token)
        assert (after.simple_status, after.pid, after.attempt) == ("running", before.pid, 0)
