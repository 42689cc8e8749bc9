"""G12: what is another tenant's does not exist, on every method of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from taskmeter.rpc.scopes import METHOD_SCOPES
from tests.calls import Calls
from tests.contract import METHODS
from tests.daemon import Daemon
from tests.integration.helpers import Failure, end_of, failure_of, start

SCOPES = ["submit", "read", "control", "files", "admin"]
NAMES_A_TASK = sorted(path for path, method in METHODS.items() if {"token", "tokens"} & set(method.input_type.fields_by_name))


@pytest.fixture(scope="module")
def stranger(shared_daemon: Daemon) -> str:
    """A key of another tenant that may do everything a key can."""
    return str(shared_daemon.calls.CreateKey(tenant="strangers", scopes=SCOPES).secret)


@pytest.fixture(scope="module")
def token(shared_daemon: Daemon) -> str:
    """An ended task of the default tenant, with output."""
    made = start(shared_daemon.calls, "echo", "ours", project_id="ours", source="ours")
    end_of(shared_daemon.calls, made)
    return made


def invoke(daemon: Daemon, path: str, key: str, **fields: Any) -> Failure:
    """Call a method by its path, whatever its kind, and return how it failed."""
    method = METHODS[path]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    request = message_factory.GetMessageClass(method.input_type)(**fields)
    call: Any = getattr(daemon.channel, kind)(path, lambda message: message.SerializeToString())
    try:
        answer = call(
            iter([request]) if method.client_streaming else request, metadata=[("authorization", f"Bearer {key}")], timeout=10
        )
        got = list(answer) if method.server_streaming else answer
    except grpc.RpcError as error:
        return Failure(error)
    raise AssertionError(f"{path} answered {got!r}")


def test_the_table_of_scopes_lists_every_method_of_the_descriptors_and_nothing_else() -> None:
    assert set(METHOD_SCOPES) == set(METHODS)


@pytest.mark.parametrize("path", NAMES_A_TASK)
def test_g12_a_foreign_task_is_not_found(shared_daemon: Daemon, stranger: str, token: str, path: str) -> None:
    name = "token" if "token" in METHODS[path].input_type.fields_by_name else "tokens"
    foreign = invoke(shared_daemon, path, stranger, **{name: token if name == "token" else [token]})
    if foreign.reason == "NOT_BUILT":
        assert foreign.code is grpc.StatusCode.UNIMPLEMENTED
        return
    other = "0" * len(token)
    unknown = invoke(shared_daemon, path, stranger, **{name: other if name == "token" else [other]})
    assert (foreign.code, foreign.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert (foreign.code, foreign.reason, foreign.metadata) == (unknown.code, unknown.reason, unknown.metadata)


def _list_tasks(calls: Calls, stranger: str, token: str) -> None:
    answer = calls.ListTasks(key=stranger, page_size=1000)
    assert token not in {task.token for task in answer.tasks}
    assert answer.total_count == len(answer.tasks)


def _start_task(calls: Calls, stranger: str, token: str) -> None:
    spec = {"command": {"argv": ["sleep", "30"]}, "project_id": "theirs", "source": "theirs"}
    ours = calls.StartTask(spec=spec, idempotency_key="the same").token
    theirs = calls.StartTask(spec=spec, idempotency_key="the same", use_existing=True, key=stranger)
    assert theirs.token != ours and not theirs.existing
    calls.Terminate(token=ours, immediate=True)
    calls.Terminate(token=theirs.token, immediate=True, key=stranger)


def _terminate_tasks(calls: Calls, stranger: str, token: str) -> None:
    ours = calls.StartTask(spec={"command": {"argv": ["sleep", "30"]}}).token
    assert ours not in calls.TerminateTasks(all=True, key=stranger).tokens
    assert not calls.Terminate(token=ours, immediate=True).already_stopping


def _retry_tasks(calls: Calls, stranger: str, token: str) -> None:
    ours = calls.StartTask(spec={"command": {"argv": ["false"]}, "tags": {"retry": "ours"}}).token
    end_of(calls, ours)
    for wanted in ({"all": True}, {"tags": {"retry": "ours"}}, {"all": True, "as_new": True}):
        answer = calls.RetryTasks(key=stranger, **wanted)
        assert (answer.retried_count, len(answer.refusals), answer.next_page_token) == (0, 0, "")
    assert calls.RetryTasks(tags={"retry": "ours"}, dry_run=True).candidate_tokens == [ours]


def _delete_queue(calls: Calls, stranger: str, token: str) -> None:
    calls.PutQueue(name="kept by us")
    failure = failure_of(calls.DeleteQueue, key=stranger, name="kept by us")
    unknown = failure_of(calls.DeleteQueue, key=stranger, name="nobody's")
    assert (failure.code, failure.reason) == (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND")
    calls.PutQueue(name="kept by us", key=stranger)
    calls.DeleteQueue(name="kept by us", key=stranger)
    assert "kept by us" in {queue.name for queue in calls.ListQueues().queues}


def _server_info(calls: Calls, stranger: str, token: str) -> None:
    assert token not in str(calls.GetServerInfo(key=stranger))


def _drain(calls: Calls, stranger: str, token: str) -> None:
    assert failure_of(calls.Drain, key=stranger).reason == "SCOPE_MISSING"
    assert not calls.GetServerInfo().draining


def _create_key(calls: Calls, stranger: str, token: str) -> None:
    failure = failure_of(calls.CreateKey, key=stranger, tenant="default", scopes=["read"])
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    assert calls.CreateKey(key=stranger, scopes=["read"]).key.tenant == "strangers"


def _revoke_key(calls: Calls, stranger: str, token: str) -> None:
    ours = calls.CreateKey(scopes=["read"]).key.key_id
    for key_id in (ours, "0" * len(ours), "admin"):
        failure = failure_of(calls.RevokeKey, key=stranger, key_id=key_id)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    assert ours in {key.key_id for key in calls.ListKeys().keys}


def _list_keys(calls: Calls, stranger: str, token: str) -> None:
    assert {key.tenant for key in calls.ListKeys(key=stranger, include_ended=True).keys} == {"strangers"}
    failure = failure_of(calls.ListKeys, key=stranger, tenant="default")
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")


def _put_queue(calls: Calls, stranger: str, token: str) -> None:
    calls.PutQueue(name="ours", max_running_count=3)
    assert calls.PutQueue(name="ours", max_running_count=1, key=stranger).queue.max_running_count == 1
    ours = next(queue for queue in calls.ListQueues().queues if queue.name == "ours")
    assert ours.max_running_count == 3


def _list_queues(calls: Calls, stranger: str, token: str) -> None:
    calls.PutQueue(name="only ours")
    assert "only ours" in {queue.name for queue in calls.ListQueues().queues}
    assert "only ours" not in {queue.name for queue in calls.ListQueues(key=stranger).queues}


def _pause_queue(calls: Calls, stranger: str, token: str) -> None:
    calls.PutQueue(name="not theirs")
    for call in (calls.PauseQueue, calls.ResumeQueue):
        failure = failure_of(call, key=stranger, name="not theirs")
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND")


def _schedule(calls: Calls, stranger: str, token: str) -> None:
    spec, timing = {"command": {"argv": ["true"]}}, {"every_seconds": 3600.0}
    calls.PutSchedule(name="ours", spec=spec, timing=timing)
    for call in (calls.GetSchedule, calls.PauseSchedule, calls.ResumeSchedule, calls.RunSchedule, calls.DeleteSchedule):
        failure = failure_of(call, key=stranger, name="ours")
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "SCHEDULE_NOT_FOUND")
    assert not calls.ListSchedules(key=stranger).schedules
    calls.PutSchedule(name="ours", spec=spec, timing={"every_seconds": 60.0}, key=stranger)
    assert calls.GetSchedule(name="ours").schedule.timing.every_seconds == 3600
    for key in ({}, {"key": stranger}):
        calls.DeleteSchedule(name="ours", **key)


NAMES_NO_TASK: dict[str, Callable[[Calls, str, str], None]] = {
    "/taskmeter.v1.TaskService/ListTasks": _list_tasks,
    "/taskmeter.v1.TaskService/StartTask": _start_task,
    "/taskmeter.v1.QueueService/PutQueue": _put_queue,
    "/taskmeter.v1.QueueService/ListQueues": _list_queues,
    "/taskmeter.v1.QueueService/PauseQueue": _pause_queue,
    "/taskmeter.v1.QueueService/ResumeQueue": _pause_queue,
    "/taskmeter.v1.QueueService/DeleteQueue": _delete_queue,
    "/taskmeter.v1.ScheduleService/PutSchedule": _schedule,
    "/taskmeter.v1.ScheduleService/ListSchedules": _schedule,
    "/taskmeter.v1.ScheduleService/GetSchedule": _schedule,
    "/taskmeter.v1.ScheduleService/PauseSchedule": _schedule,
    "/taskmeter.v1.ScheduleService/ResumeSchedule": _schedule,
    "/taskmeter.v1.ScheduleService/DeleteSchedule": _schedule,
    "/taskmeter.v1.ScheduleService/RunSchedule": _schedule,
    "/taskmeter.v1.TaskService/TerminateTasks": _terminate_tasks,
    "/taskmeter.v1.TaskService/RetryTasks": _retry_tasks,
    "/taskmeter.v1.AdminService/GetServerInfo": _server_info,
    "/taskmeter.v1.AdminService/Drain": _drain,
    "/taskmeter.v1.AdminService/CreateKey": _create_key,
    "/taskmeter.v1.AdminService/RevokeKey": _revoke_key,
    "/taskmeter.v1.AdminService/ListKeys": _list_keys,
}
"""How each method that takes no token keeps tenants apart."""


@pytest.mark.parametrize("path", sorted(set(METHODS) - set(NAMES_A_TASK)))
def test_g12_methods_that_name_no_task_keep_tenants_apart(shared_daemon: Daemon, stranger: str, token: str, path: str) -> None:
    NAMES_NO_TASK[path](shared_daemon.calls, stranger, token)  # a KeyError: say above how the new method does it


def test_g12_a_stream_of_everything_is_of_one_s_own_tasks_only(shared_daemon: Daemon, stranger: str, token: str) -> None:
    theirs = str(shared_daemon.calls.StartTask(spec={"command": {"argv": ["true"]}}, key=stranger).token)
    shared_daemon.calls.WaitTask(token=theirs, timeout_seconds=20, key=stranger)
    stream = shared_daemon.calls.StreamEvents(from_seq=1, include_status=True, bookmark_interval_seconds=0.1, key=stranger)

    def answers() -> Iterator[Any]:
        for answer in stream:
            yield answer
            if answer.bookmark and answer.seq:
                return

    seen = [answer for answer in answers() if answer.events or answer.statuses]
    stream.cancel()
    found = {event.token for answer in seen for event in answer.events} | {
        status.token for answer in seen for status in answer.statuses
    }
    assert theirs in found and token not in found


@pytest.mark.parametrize("path", sorted(METHODS))
def test_a_key_without_the_scope_is_told_which_one_is_missing(shared_daemon: Daemon, path: str) -> None:
    needed = METHOD_SCOPES[path].value
    others = [scope for scope in SCOPES if scope != needed]
    failure = invoke(shared_daemon, path, shared_daemon.calls.CreateKey(scopes=others).secret)
    if failure.reason == "NOT_BUILT":
        assert failure.code is grpc.StatusCode.UNIMPLEMENTED
        return
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert failure.metadata["scope"] == needed
