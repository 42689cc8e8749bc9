"""Attempts that the retry policy begins: when, how many, what each of them keeps, and that no stop is answered with another.

Guarantees named here: G1 accepted = durable, G3 at most one start per attempt, G9 legal histories with exactly one ending event
per attempt.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.model.state import LEGAL, State
from taskmeter.v1 import event_pb2, task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import (
    end_of,
    events,
    failure_of,
    read,
    start,
    status_of,
    wait_for_output,
    wait_for_state,
)
from tests.waiting import wait_until

FAILED, SUCCEEDED = task_pb2.TASK_OUTCOME_FAILED, task_pb2.TASK_OUTCOME_SUCCEEDED
CANCELLED, LOST = task_pb2.TASK_OUTCOME_CANCELLED, task_pb2.TASK_OUTCOME_LOST
NONE, RUNNING, STOPPING = task_pb2.TASK_STATE_NONE, task_pb2.TASK_STATE_RUNNING, task_pb2.TASK_STATE_STOPPING
LONG = {"max_retries": 3, "delay_seconds": 3600}
CHANGES = 6
"""At the same moment."""


def wait_for_retry(calls: Any, token: str, attempt: int = 1) -> task_pb2.TaskStatus:
    """Wait until the task waits for its attempt number `attempt`."""

    def waits() -> task_pb2.TaskStatus | None:
        status = status_of(calls, token)
        return status if status.state == NONE and status.attempt == attempt else None

    return wait_until(waits, f"waiting for attempt {attempt}")


def endings(calls: Any, token: str) -> list[tuple[int, int, int]]:
    """Return (attempt, to, outcome) of the events that end attempts, and check that all moves are legal (G9)."""
    found = []
    for event in events(calls, token):
        changed = event.state_changed
        if event.HasField("state_changed") and changed.reason != "accepted":
            assert State(changed.to_state) in LEGAL[State(changed.from_state)], event
        if changed.outcome:
            assert changed.to_state in (NONE, task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_CANCELLED), event
            found.append((event.attempt, changed.to_state, changed.outcome))
    return found


def test_g9_every_attempt_has_one_ending_its_own_output_and_adds_to_the_bill(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    script = 'echo "attempt $TASKMETER_ATTEMPT"; touch made; ls | wc -l; exit $((2 - TASKMETER_ATTEMPT))'
    token = start(calls, "sh", "-c", script, retry={"max_retries": 5}, tags={"kept": "yes"}, priority=3)
    ended = end_of(calls, token)
    assert (ended.outcome, ended.attempt, ended.retries_used, ended.max_retries) == (SUCCEEDED, 2, 2, 5)
    assert (dict(ended.tags), ended.waiting_reason) == ({"kept": "yes"}, "")
    assert endings(calls, token) == [(0, NONE, FAILED), (1, NONE, FAILED), (2, task_pb2.TASK_STATE_COMPLETED, SUCCEEDED)]
    for attempt in range(3):
        assert read(calls, token, attempt=attempt).split() == [b"attempt", b"%d" % attempt, b"1"], "its own directory"
    assert 0 < ended.metrics.cpu_time_ns < ended.tokens.cpu_ns, "metrics are of the attempt, tokens of all"
    with sqlite3.connect(f"file:{shared_daemon.state_dir}/taskmeter.db?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT number, outcome, exit_code, cpu_ns FROM attempts WHERE token = ? ORDER BY number", (token,)
        ).fetchall()
    assert [row[:3] for row in rows] == [(0, FAILED, 2), (1, FAILED, 1), (2, SUCCEEDED, 0)]
    assert sum(row[3] for row in rows) == ended.tokens.cpu_ns


def test_a_stream_of_logs_has_every_byte_of_every_attempt(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    go = shared_daemon.home / "go"
    script = f'while ! [ -e {go} ]; do sleep 0.01; done; echo "attempt $TASKMETER_ATTEMPT"; exit $((9 - TASKMETER_ATTEMPT))'
    token = start(calls, "sh", "-c", script, retry={"max_retries": 9})
    stream = calls.StreamEvents(tokens=[token], kinds=[event_pb2.EVENT_KIND_LOG], until_terminal=True, timeout=60)
    next(stream)  # it has begun
    go.touch()
    chunks = [(event.attempt, event.log.data) for message in stream for event in message.events]
    assert chunks == [(attempt, b"attempt %d\n" % attempt) for attempt in range(10)]


def test_the_last_failure_is_the_end(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "exit 4", retry={"max_retries": 2})
    ended = end_of(calls, token)
    assert (ended.outcome, ended.exit_code, ended.attempt, ended.retries_used) == (FAILED, 4, 2, 2)
    assert len(endings(calls, token)) == 3


@pytest.mark.parametrize(
    ("script", "spec", "retry", "attempts"),
    [
        ("exit 3", {}, {"retry_on_exit_codes": [3]}, 2),
        ("exit 4", {}, {"retry_on_exit_codes": [3]}, 1),
        ("kill -9 $$", {}, {}, 2),
        ("kill -9 $$", {}, {"retry_on": [FAILED]}, 1),
        ("exit 1", {}, {"retry_on": [task_pb2.TASK_OUTCOME_SIGNALED]}, 1),
        ("exec sleep 60", {"timeout_seconds": 0.2}, {}, 2),
        ("true", {"working_directory": "/no/such/directory"}, {}, 2),
        ("true", {}, {}, 1),
    ],
)
def test_the_policy_says_what_is_retried(
    shared_daemon: Daemon, script: str, spec: dict[str, Any], retry: dict[str, Any], attempts: int
) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", script, retry={"max_retries": 1, **retry}, **spec)
    assert end_of(calls, token).attempt + 1 == attempts == len(endings(calls, token))


def test_a_waiting_task_says_which_retry_it_waits_for_how_long_and_why(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "exit 5", retry=LONG, queue="")
    status = wait_for_retry(calls, token)
    what, _, rest = status.waiting_reason.partition(" in ")
    left, _, why = rest.partition(" s ")
    assert (what, why) == ("retry 1 of 3", "(exited with code 5)")
    assert 3590 < float(left) <= 3600
    assert (status.retries_used, status.outcome, status.exit_code, status.pid) == (1, 0, 0, 0)
    assert not status.HasField("queue_position"), "it is not in the queue before it is due"
    assert status.tokens.cpu_ns > 0
    assert list(calls.GetMetricsHistory(token=token).points) == []
    calls.UpdateTask(token=token, priority=9)
    assert wait_for_retry(calls, token).waiting_reason.startswith("retry 1 of 3 in "), "a priority does not shorten the wait"
    calls.Terminate(token=token)


def test_a_stop_between_attempts_ends_the_task_at_once(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "false", retry=LONG)
    wait_for_retry(calls, token)
    answer = calls.Terminate(token=token)
    assert (answer.status.state, answer.status.outcome) == (task_pb2.TASK_STATE_CANCELLED, CANCELLED)
    assert answer.status.exit_message == "stopped on request, before its next attempt started"
    assert (answer.status.attempt, answer.status.exit_code) == (1, -1)
    assert answer.status.tokens.cpu_ns > 0
    assert endings(calls, token) == [(0, NONE, FAILED), (1, task_pb2.TASK_STATE_CANCELLED, CANCELLED)]


def test_a_stop_while_the_rest_of_a_failed_attempt_is_cleared_away_lets_no_other_follow(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    script = "(trap '' TERM; echo up; exec sleep 60) & while ! [ -s ../stdout ]; do :; done; exit 7"
    token = start(calls, "sh", "-c", script, retry=LONG, grace_period_seconds=1.0)
    wait_for_state(calls, token, STOPPING)
    answer = calls.Terminate(token=token)
    assert answer.already_stopping
    ended = end_of(calls, token)
    assert (ended.outcome, ended.exit_code, ended.attempt, ended.retries_used) == (CANCELLED, 7, 0, 0)


def test_a_stop_of_a_running_retry_is_no_failure_to_retry(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    script = "trap 'exit 1' TERM; [ $TASKMETER_ATTEMPT = 0 ] && exit 1; echo up; while :; do sleep 0.02; done"
    token = start(calls, "sh", "-c", script, retry={"max_retries": 9})
    wait_until(lambda: status_of(calls, token).attempt == 1, "its retry")
    wait_for_output(calls, token, b"up")
    calls.Terminate(token=token)
    ended = end_of(calls, token)
    assert (ended.outcome, ended.attempt, ended.exit_code) == (CANCELLED, 1, 1)


def test_a_stop_at_any_moment_of_fast_retries_is_the_last_thing_that_happens(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when it fails
    chance, pause = random.Random(seed), threading.Event()
    for _ in range(40):
        retry = {"max_retries": 1_000_000, "delay_seconds": chance.choice((0.0, 0.001))}
        token = start(calls, "false", retry=retry)
        pause.wait(chance.uniform(0, 0.05))  # the moment is what is tried
        attempt = calls.Terminate(token=token).status.attempt
        ended = end_of(calls, token)
        assert (ended.state, ended.outcome, ended.attempt) == (task_pb2.TASK_STATE_CANCELLED, CANCELLED, attempt)
        assert endings(calls, token)[-1] == (attempt, ended.state, CANCELLED)


def test_a_retry_by_hand_keeps_tags_and_priority_and_is_not_counted(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    script = "exit $((TASKMETER_ATTEMPT < 2))"
    token = start(calls, "sh", "-c", script, retry={"max_retries": 1}, tags={"a": "b"}, priority=5, metadata={"m": "1"})
    assert end_of(calls, token).retries_used == 1
    again = calls.RetryTask(token=token).status
    assert (dict(again.tags), dict(again.metadata)) == ({"a": "b"}, {"m": "1"})
    ended = end_of(calls, token)
    assert (ended.outcome, ended.attempt, ended.retries_used) == (SUCCEEDED, 2, 1)
    assert failure_of(calls.RetryTask, token=token).reason == "NOT_RETRYABLE"


def test_a_task_that_waits_for_its_retry_is_live(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "false", retry=LONG)
    wait_for_retry(calls, token)
    assert failure_of(calls.RetryTask, token=token).reason == "NOT_RETRYABLE"
    assert failure_of(calls.DeleteTask, token=token).reason == "NOT_TERMINAL"
    calls.Terminate(token=token)


@pytest.mark.parametrize(
    ("retry", "field"),
    [
        ({"max_retries": -1}, "spec.retry.max_retries"),
        ({"max_retries": 1, "delay_seconds": -1}, "spec.retry.delay_seconds"),
        ({"max_retries": 1, "delay_seconds": float("nan")}, "spec.retry.delay_seconds"),
        ({"max_retries": 1, "backoff": float("inf")}, "spec.retry.backoff"),
        ({"max_retries": 1, "max_delay_seconds": 1e18}, "spec.retry.max_delay_seconds"),
        ({"max_retries": 1, "retry_on": [SUCCEEDED]}, "spec.retry.retry_on"),
        ({"max_retries": 1, "retry_on": [CANCELLED]}, "spec.retry.retry_on"),
        ({"max_retries": 1, "retry_on": [99]}, "spec.retry.retry_on"),
        ({"max_retries": 1, "retry_on_exit_codes": [0]}, "spec.retry.retry_on_exit_codes"),
        ({"max_retries": 1, "retry_on_exit_codes": [256]}, "spec.retry.retry_on_exit_codes"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_by_field(shared_daemon: Daemon, retry: dict[str, Any], field: str) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "retry": retry})
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert field in failure.fields


def test_g1_a_wait_survives_kill9_and_goes_on_where_it_was(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon().start()
    ran = tmp_path / "ran"
    script = f"echo $TASKMETER_ATTEMPT >> {ran}; exit $((TASKMETER_ATTEMPT == 0))"
    soon = start(daemon.calls, "sh", "-c", script, retry={"max_retries": 1, "delay_seconds": 3})
    later = start(daemon.calls, "false", retry=LONG)
    for token in (soon, later):
        wait_for_retry(daemon.calls, token)
    for _ in range(3):
        daemon.restart()
        left = wait_for_retry(daemon.calls, later).waiting_reason
        assert left.startswith("retry 1 of 3 in 3"), left
    ended = end_of(daemon.calls, soon)
    assert (ended.outcome, ended.attempt, ended.retries_used) == (SUCCEEDED, 1, 1)
    assert ran.read_text() == "0\n1\n", "each attempt ran once"
    assert len(endings(daemon.calls, soon)) == 2
    calls = daemon.calls
    calls.Terminate(token=later)


def edit_wait(daemon: Daemon, token: str, **changes: Any) -> None:
    """Change the stored wait of a task while no daemon runs: what a clock that was set, or another boot, leaves behind."""
    names = ("due_time", "due_clock_seconds", "boot_id", "delay_seconds", "retry", "reason")
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        (detail,) = database.execute("SELECT detail FROM tasks WHERE token = ?", (token,)).fetchone()
        more = json.loads(detail)
        more["wait"] = list((dict(zip(names, more["wait"], strict=True)) | changes).values())
        database.execute("UPDATE tasks SET detail = ? WHERE token = ?", (json.dumps(more), token))
    database.close()


@pytest.mark.parametrize("jump_seconds", [-1e8, 1e8])
def test_a_wall_clock_that_jumps_while_no_daemon_runs_changes_no_wait(daemon: Daemon, jump_seconds: float) -> None:
    token = start(daemon.calls, "false", retry={"max_retries": 1, "delay_seconds": 600})
    wait_for_retry(daemon.calls, token)
    daemon.stop()
    edit_wait(daemon, token, due_time=jump_seconds + 1e9)
    daemon.start()
    left = float(wait_for_retry(daemon.calls, token).waiting_reason.split()[5])
    assert 500 < left <= 600
    daemon.calls.Terminate(token=token)


def test_a_wait_that_was_over_before_the_host_came_back_begins_at_once(daemon: Daemon) -> None:
    token = start(daemon.calls, "sh", "-c", "exit $((TASKMETER_ATTEMPT == 0))", retry=LONG)
    wait_for_retry(daemon.calls, token)
    daemon.stop()
    edit_wait(daemon, token, boot_id="another", due_time=1.0, due_clock_seconds=1e12)
    daemon.start()
    assert end_of(daemon.calls, token).outcome == SUCCEEDED


@pytest.mark.parametrize("asked", [False, True])
def test_g3_a_lost_attempt_is_run_again_only_when_asked(daemon: Daemon, tmp_path: Path, asked: bool) -> None:
    ran = tmp_path / "ran"
    script = f"echo $TASKMETER_ATTEMPT >> {ran}; [ $TASKMETER_ATTEMPT = 1 ] || exec sleep 60"
    retry = {"max_retries": 1, "retry_on": [LOST] if asked else []}
    token = start(daemon.calls, "sh", "-c", script, retry=retry)
    pid = wait_for_state(daemon.calls, token, RUNNING).pid
    wait_until(ran.exists, "its start")
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGKILL)
    ended = end_of(daemon.calls, token)
    assert ended.outcome == (SUCCEEDED if asked else LOST)
    assert ran.read_text() == ("0\n1\n" if asked else "0\n")


def test_retries_take_their_turn_like_everyone_and_hold_no_slot_while_they_wait(make_daemon: Callable[..., Daemon]) -> None:
    calls = make_daemon("--max-running", "1").start().calls
    first = start(calls, "false", retry=LONG)
    wait_for_retry(calls, first)
    info = calls.GetServerInfo()
    assert (info.running_count, info.waiting_count) == (0, 1)
    assert end_of(calls, start(calls, "true")).outcome == SUCCEEDED
    calls.Terminate(token=first)
    assert calls.GetServerInfo().waiting_count == 0


def test_a_retry_that_waits_counts_for_the_bounds_of_its_queue_and_is_listed_there(daemon: Daemon) -> None:
    def listed() -> int:
        return next(int(queue.waiting_count) for queue in daemon.calls.ListQueues().queues if queue.name == "small")

    daemon.calls.PutQueue(name="small", max_size=1)
    first = start(daemon.calls, "false", retry=LONG, queue="small")
    wait_for_retry(daemon.calls, first)
    for restarted in (False, True):
        if restarted:
            daemon.kill9()
            daemon.restart()
        assert (listed(), daemon.calls.GetServerInfo().waiting_count) == (1, 1)
        failure = failure_of(daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "queue": "small"})
        assert failure.reason == "QUEUE_FULL"
    daemon.calls.Terminate(token=first)
    assert (listed(), daemon.calls.GetServerInfo().waiting_count) == (0, 0)
    assert end_of(daemon.calls, start(daemon.calls, "true", queue="small")).outcome == SUCCEEDED


@pytest.mark.guarantee("G9")
def test_g9_a_change_of_tags_beside_a_retry_does_not_take_the_task_back(daemon: Daemon) -> None:
    """Whoever changes an ended task has read it before the retry was stored, and may be stored after it."""
    calls = daemon.calls

    def change(token: str, number: int) -> None:
        calls.UpdateTask(token=token, set_metadata={f"of {number}": "1"}) if number else calls.RetryTask(token=token)

    with ThreadPoolExecutor(CHANGES) as pool:
        for _ in range(20):
            token = start(calls, "false")
            end_of(calls, token)
            list(pool.map(partial(change, token), range(CHANGES)))
            status = end_of(calls, token)
            assert (status.attempt, len(status.metadata)) == (1, CHANGES - 1)
            assert endings(calls, token) == [(0, State.COMPLETED, FAILED), (1, State.COMPLETED, FAILED)]
