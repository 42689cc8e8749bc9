"""A task queue's dead letters and their replay, and what it got wrong.

There, a retry deleted the original record, dropped the priority, ran with empty arguments when these were encrypted, and a
requeue bypassed the queue's limit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, read, start, status_of, wait_for_state

FAILED, SUCCEEDED = task_pb2.TASK_OUTCOME_FAILED, task_pb2.TASK_OUTCOME_SUCCEEDED
SCRIPT = 'echo "$0 $TASKMETER_ATTEMPT"; test -e "$1"'


def test_dead_letters_are_listed_and_replayed_with_all_they_had(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    key = tmp_path / "encryption.key"
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)
    daemon = make_daemon("--encryption-key-file", str(key)).start()
    calls = daemon.calls
    calls.PutQueue(name="mail", max_running_count=1)
    repaired = tmp_path / "repaired"
    argv = ("sh", "-c", SCRIPT, "letter", str(repaired))
    letters = [start(calls, *argv, queue="mail", priority=priority, tags={"kind": "mail"}) for priority in (0, 7, 3)]
    assert all(end_of(calls, token).outcome == FAILED for token in letters)
    dead = calls.ListTasks(outcomes=[FAILED], queue="mail")
    assert {task.token for task in dead.tasks} == set(letters) and dead.total_count == 3

    repaired.touch()
    blocker = start(calls, "sleep", "600", queue="mail", priority=9)
    wait_for_state(calls, blocker, task_pb2.TASK_STATE_RUNNING)
    answer = calls.RetryTasks(outcomes=[FAILED], queue="mail", tags={"kind": "mail"})
    assert list(answer.tokens) == letters
    assert [status_of(calls, token).queue_position for token in letters] == [2, 0, 1], "in the queue, with their priorities"
    calls.Terminate(token=blocker, immediate=True)
    ended = [end_of(calls, token) for token in letters]
    assert [(status.outcome, status.attempt, dict(status.tags)) for status in ended] == [(SUCCEEDED, 1, {"kind": "mail"})] * 3
    starts = [status.start_time for status in ended]
    assert starts == [max(starts), min(starts), sorted(starts)[1]]
    for token in letters:
        assert [read(calls, token, attempt=attempt) for attempt in (0, 1)] == [b"letter 0\n", b"letter 1\n"]
    assert calls.ListTasks(outcomes=[FAILED], queue="mail").total_count == 0
