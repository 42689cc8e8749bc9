"""Failed tasks retried by filter: which, how many, what is refused, and that to repeat it is harmless (G1, G3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from taskmeter.client import Client, SyncClient
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start, status_of
from tests.waiting import wait_until

FAILED, SUCCEEDED = task_pb2.TASK_OUTCOME_FAILED, task_pb2.TASK_OUTCOME_SUCCEEDED
CANCELLED = task_pb2.TASK_OUTCOME_CANCELLED


def failed(calls: Calls, count: int, *argv: str, **spec: Any) -> list[str]:
    """Tasks that have ended FAILED, in the order in which they were accepted."""
    tokens = [start(calls, *(argv or ("false",)), **spec) for _ in range(count)]
    assert {end_of(calls, token).outcome for token in tokens} <= {FAILED}
    return tokens


def attempts(calls: Calls, tokens: list[str]) -> list[int]:
    return [end_of(calls, token).attempt for token in tokens]


def test_a_filter_retries_what_failed_and_nothing_else(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="again")
    mine = failed(calls, 3, tags={"run": "a"}, queue="again", name="job-x", project_id="p")
    other_tag = failed(calls, 1, tags={"run": "b"}, queue="again", name="job-x", project_id="p")
    good = start(calls, "true", tags={"run": "a"}, queue="again", name="job-x", project_id="p")
    assert end_of(calls, good).outcome == SUCCEEDED
    wanted = {"tags": {"run": "a"}, "queue": "again", "name_prefix": "job", "project_id": "p"}
    foreseen = calls.RetryTasks(dry_run=True, **wanted)
    assert (list(foreseen.candidate_tokens), foreseen.retried_count, list(foreseen.tokens)) == (mine, 3, [])
    assert attempts(calls, mine) == [0] * 3, "nothing was done"
    answer = calls.RetryTasks(**wanted)
    assert (list(answer.tokens), answer.retried_count, answer.next_page_token) == (mine, 3, "")
    assert not answer.refusals and not answer.HasField("stopped")
    assert attempts(calls, [*mine, *other_tag, good]) == [1, 1, 1, 0, 0]
    created = status_of(calls, mine[1]).create_time
    assert calls.RetryTasks(created_before_time=created, dry_run=True, **wanted).candidate_tokens == mine[:1]
    assert calls.RetryTasks(created_after_time=created, dry_run=True, **wanted).candidate_tokens == mine[2:]
    for outcome, found in ((FAILED, 3), (task_pb2.TASK_OUTCOME_LOST, 0)):
        assert calls.RetryTasks(outcomes=[outcome], dry_run=True, **wanted).retried_count == found


def test_g3_repeated_or_side_by_side_it_begins_no_task_twice(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="held back")
    tokens = failed(calls, 5, tags={"twice": "no"}, queue="held back")
    calls.PauseQueue(name="held back")
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: calls.RetryTasks(tags={"twice": "no"}).retried_count, range(4)))
    assert sum(counts) == 5
    again = calls.RetryTasks(tags={"twice": "no"})
    assert (again.retried_count, len(again.refusals)) == (0, 0), "they live"
    calls.ResumeQueue(name="held back")
    assert attempts(calls, tokens) == [1] * 5


def test_pages_go_on_where_the_one_before_ended_and_each_task_is_looked_at_once(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    tokens = failed(calls, 5, tags={"paged": "yes"})
    seen, page_token, sizes = [], "", []
    while True:
        answer = calls.RetryTasks(tags={"paged": "yes"}, page_size=2, page_token=page_token)
        seen += answer.tokens
        sizes.append(answer.retried_count)
        page_token = answer.next_page_token
        if not page_token:
            break
        assert set(failure_of(calls.RetryTasks, tags={"other": "filter"}, page_token=page_token).fields) == {"page_token"}
    assert (seen, sizes) == (tokens, [2, 2, 1]), "those accepted first are first, and what fails again at once is not found again"
    assert attempts(calls, tokens) == [1] * 5


def test_copies_are_made_once_of_each_attempt_and_not_of_one_another(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    wanted: dict[str, Any] = {"tags": {"copy": "me"}, "as_new": True}
    old = failed(calls, 3, tags={"copy": "me"})
    first = calls.RetryTasks(page_size=1, **wanted)
    rest = [calls.RetryTasks(page_size=1, page_token=first.next_page_token, **wanted)]
    while rest[-1].next_page_token:
        rest.append(calls.RetryTasks(page_size=1, page_token=rest[-1].next_page_token, **wanted))
    new = [token for answer in (first, *rest) for token in answer.tokens]
    assert len(set(new)) == 3 and not set(new) & set(old), "copies that failed meanwhile belong to the next call"
    assert attempts(calls, [*old, *new]) == [0] * 6
    again = calls.RetryTasks(**wanted)
    assert again.copied_before_count == 3 and again.retried_count == 3, "of the copies, which have failed too, not of the first"
    assert not set(again.tokens) & {*old, *new}
    attempts(calls, list(again.tokens))
    assert calls.RetryTasks(dry_run=True, **wanted).candidate_tokens == again.tokens


def test_what_cannot_be_retried_is_refused_one_by_one_with_its_reason(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    spec = {"command": {"argv": ["false"]}, "tags": {"of": "key"}}
    old = calls.StartTask(spec=spec, idempotency_key="many").token
    end_of(calls, old)
    spec["command"]["argv"] = ["true"]  # type: ignore[index]
    holder = calls.StartTask(spec=spec, idempotency_key="many").token
    end_of(calls, holder)
    fine = failed(calls, 1, tags={"of": "key"})
    for dry_run in (True, False):
        answer = calls.RetryTasks(tags={"of": "key"}, dry_run=dry_run)
        assert [*answer.tokens, *answer.candidate_tokens] == fine
        assert [(refusal.token, refusal.reason) for refusal in answer.refusals] == [(old, "NOT_RETRYABLE")]
        assert "newer task" in answer.refusals[0].message
    stopped = start(calls, "sleep", "600", tags={"of": "stop"})
    calls.Terminate(token=stopped, immediate=True)
    end_of(calls, stopped)
    assert calls.RetryTasks(tags={"of": "stop"}).retried_count == 0, "what was stopped is not meant"
    assert set(failure_of(calls.RetryTasks, outcomes=[CANCELLED]).fields) == {"outcomes[0]"}
    copied = calls.RetryTasks(tags={"of": "stop"}, outcomes=[CANCELLED], as_new=True)
    assert copied.retried_count == 1
    calls.Terminate(token=copied.tokens[0], immediate=True)


def test_who_asks_for_too_much_or_nothing_is_told_what_is_wrong(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    assert set(failure_of(calls.RetryTasks).fields) == {"all"}
    assert set(failure_of(calls.RetryTasks, all=True, queue="q").fields) == {"all"}
    assert set(failure_of(calls.RetryTasks, queue="q", page_size=1001).fields) == {"page_size"}
    assert set(failure_of(calls.RetryTasks, queue="q", page_token="%").fields) == {"page_token"}
    bad = failure_of(calls.RetryTasks, outcomes=[0, 99], created_before_time=-1.0)
    assert set(bad.fields) == {"outcomes[0]", "outcomes[1]", "created_before_time"}


def test_a_queue_that_is_full_in_the_middle_is_said_and_the_rest_comes_later(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    calls.PutQueue(name="tight")
    old = failed(calls, 5, tags={"tight": "yes"}, queue="tight")
    calls.PutQueue(name="tight", max_size=2)
    calls.PauseQueue(name="tight")
    wanted: dict[str, Any] = {"tags": {"tight": "yes"}, "as_new": True}
    answer = calls.RetryTasks(**wanted)
    assert (answer.retried_count, answer.stopped.token, answer.stopped.reason) == (2, old[2], "QUEUE_FULL")
    assert answer.next_page_token and answer.retry_after_seconds > 0
    calls.PutQueue(name="tight", max_size=9)
    rest = calls.RetryTasks(page_token=answer.next_page_token, **wanted)
    assert (rest.retried_count, rest.HasField("stopped"), rest.next_page_token) == (3, False, "")
    assert calls.TerminateTasks(queue="tight").stopped_count == 5


def test_a_quota_that_is_used_up_in_the_middle_is_said(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    key = calls.CreateKey(tenant="small", scopes=["submit", "read", "control"], quotas={"running_count": 2}).secret
    for _ in range(3):
        token = calls.StartTask(spec={"command": {"argv": ["false"]}}, key=key).token
        calls.WaitTask(token=token, key=key, timeout_seconds=20)
    calls.PutQueue(name="default", key=key)
    calls.PauseQueue(name="default", key=key)
    answer = calls.RetryTasks(all=True, key=key)
    assert (answer.retried_count, answer.stopped.reason) == (2, "QUOTA_EXCEEDED")
    calls.TerminateTasks(all=True, key=key)
    assert calls.RetryTasks(all=True, page_token=answer.next_page_token, key=key).retried_count == 1
    calls.TerminateTasks(all=True, key=key)


def test_g1_killed_in_the_middle_it_is_repeated_and_every_copy_exists_once(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    old = failed(daemon.calls, 4, tags={"killed": "yes"})
    daemon.stop()
    plain = daemon.env
    daemon.env = {**plain, "TASKMETER_FAILPOINTS": "submit.after_commit=crash*1"}
    daemon.start()
    with pytest.raises(grpc.RpcError):
        daemon.calls.RetryTasks(tags={"killed": "yes"}, as_new=True)
    daemon.kill9()
    daemon.env = plain
    calls = daemon.start().calls
    stored = {task.token for task in calls.ListTasks(tags={"killed": "yes"}).tasks} - set(old)
    assert stored, "it was killed after a commit"
    for token in stored:
        end_of(calls, token)
    second = calls.RetryTasks(
        tags={"killed": "yes"}, as_new=True, created_before_time=status_of(calls, old[-1]).create_time + 1e-4
    )
    assert not stored & set(second.tokens)
    copies = {task.token for task in calls.ListTasks(tags={"killed": "yes"}).tasks} - set(old)
    assert len(copies) == 4


def test_the_audit_log_names_what_was_retried_and_the_scope_is_control(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    [token] = failed(calls, 1, tags={"audited": "yes"})
    key = calls.CreateKey(scopes=["submit", "read"]).secret
    assert failure_of(calls.RetryTasks, all=True, key=key).reason == "SCOPE_MISSING"
    calls.RetryTasks(tags={"audited": "yes"}, dry_run=True)
    calls.RetryTasks(tags={"audited": "yes"})

    def noted() -> list[Any]:
        lines = (json.loads(line) for line in (shared_daemon.state_dir / "audit.jsonl").read_text().splitlines())
        return [line for line in lines if "RetryTasks" in str(line) and token in str(line)]

    assert len(wait_until(noted, "it is noted")) == 1, "the dry run has retried nothing"


async def test_both_clients_retry_many(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    tokens = failed(calls, 3, tags={"by": "client"})
    with SyncClient(shared_daemon.target, key=shared_daemon.key) as client:
        foreseen = client.retry_tasks(status="failed", tags={"by": "client"}, dry_run=True)
        assert foreseen.tokens == tuple(tokens)
        page = client.retry_tasks(status=["failed", "lost"], tags={"by": "client"}, page_size=2)
        assert page.tokens == tuple(tokens[:2]) and page.next_page_token and page.stopped is None
    attempts(calls, tokens)
    async with Client(shared_daemon.target, key=shared_daemon.key) as other:
        copied = await other.retry_tasks(tags={"by": "client"}, as_new=True)
        assert len(copied.tokens) == 3 and (copied.refusals, copied.copied_before_count) == ((), 0)
    attempts(calls, list(copied.tokens))
