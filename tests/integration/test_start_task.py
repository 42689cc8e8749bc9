"""StartTask: what is accepted runs exactly as asked; what is not is refused by field, and nothing is ignored in silence."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, read, start, start_python, status_of

SHOW = "import json,os,sys; print(json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:], sys.stdin.read()]))"


def test_a_command_runs_and_every_move_is_in_the_events(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    answer = calls.StartTask(spec={"command": {"argv": ["sh", "-c", "echo out; echo err >&2"]}, "name": "näme"})
    assert not answer.existing
    assert answer.status.token == answer.token and answer.status.name == "näme"
    ended = end_of(calls, answer.token)
    assert (ended.state, ended.outcome, ended.exit_code) == (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_OUTCOME_SUCCEEDED, 0)
    assert ended.completed and ended.exit_message == "exited with code 0"
    assert 0 < ended.create_time <= ended.start_time <= ended.end_time
    assert (read(calls, answer.token), read(calls, answer.token, "stderr")) == (b"out\n", b"err\n")
    assert moves(calls, answer.token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_argv_environment_directory_and_stdin_arrive_exactly(shared_daemon: Daemon, tmp_path: Any) -> None:
    calls = shared_daemon.calls
    token = start_python(calls, SHOW, env={"A": "ü = $HOME", "EMPTY": ""}, working_directory=str(tmp_path), stdin_data=b"in\nput")
    assert end_of(calls, token).exit_code == 0
    directory, environment, arguments, stdin = json.loads(read(calls, token))
    assert (directory, arguments, stdin) == (str(tmp_path), [], "in\nput")
    assert (environment["A"], environment["EMPTY"]) == ("ü = $HOME", "")
    assert (environment["TASKMETER_TOKEN"], environment["TASKMETER_ATTEMPT"]) == (token, "0")
    assert environment["TASKMETER_TARGET"] == shared_daemon.target
    assert os.path.isdir(environment["TASKMETER_TASK_DIR"]) and environment["TASKMETER_REPORT_KEY"].startswith(
        f"tr_{token[3:]}_0_"
    )
    assert shared_daemon.key not in environment.values()


def test_arguments_are_never_interpreted_by_a_shell(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "printf", "%s|", "$(id)", "`id`", "a b", "*", ";")
    end_of(calls, token)
    assert read(calls, token) == b"$(id)|`id`|a b|*|;|"


def test_the_default_directory_is_empty_and_the_task_s_own(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "ls -A; pwd")
    end_of(calls, token)
    [directory] = read(calls, token).decode().splitlines()
    assert directory.endswith("/task/work") and token in directory


def test_umask_and_merged_stderr_are_honoured(shared_daemon: Daemon, tmp_path: Any) -> None:
    calls = shared_daemon.calls
    token = start(
        calls, "sh", "-c", "echo 1; echo 2 >&2; echo 3; : > made", umask=0o027, merge_stderr=True, working_directory=str(tmp_path)
    )
    end_of(calls, token)
    assert read(calls, token) == b"1\n2\n3\n" and read(calls, token, "stderr") == b""
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.command.argv"),
        ({"command": {"argv": [""]}}, "spec.command.argv"),
        ({"command": {"argv": ["a\0b"]}}, "spec.command.argv[0]"),
        ({"env": {"A=B": "1"}}, "spec.env['A=B']"),
        ({"env": {"": "1"}}, "spec.env['']"),
        ({"env": {"TASKMETER_TOKEN": "1"}}, "spec.env['TASKMETER_TOKEN']"),
        ({"env": {"A": "x\0"}}, "spec.env['A']"),
        ({"working_directory": "relative"}, "spec.working_directory"),
        ({"timeout_seconds": -1}, "spec.timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "spec.timeout_seconds"),
        ({"grace_period_seconds": float("inf")}, "spec.grace_period_seconds"),
        ({"stdin_data": b"x" * (1024 * 1024 + 1)}, "spec.stdin_data"),
        ({"tags": {str(number): "" for number in range(65)}}, "spec.tags"),
        ({"metadata": {"k": "x" * 4097}}, "spec.metadata['k']"),
        ({"name": "x" * 257}, "spec.name"),
        ({"umask": 0o1000}, "spec.umask"),
        ({"total_count": -1}, "spec.total_count"),
        ({"env": {f"V{number}": "x" * 60_000 for number in range(9)}}, "spec"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_started(shared_daemon: Daemon, spec: dict[str, Any], field: str) -> None:
    spec = {"command": {"argv": ["true"]}, **spec} if spec else spec
    failure = failure_of(shared_daemon.calls.StartTask, spec=spec)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert field in failure.fields


def test_all_bad_fields_are_named_at_once(shared_daemon: Daemon) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"name": "x" * 300, "umask": 4096, "timeout_seconds": -1})
    assert set(failure.fields) == {"spec.command.argv", "spec.name", "spec.umask", "spec.timeout_seconds"}


@pytest.mark.parametrize(
    "spec",
    [
        {"python": {"function": "a:b"}},
        {"pipeline": {"definition_json": "{}"}},
    ],
)
def test_what_is_not_built_is_refused_and_not_ignored(shared_daemon: Daemon, spec: dict[str, Any]) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec=spec)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")


def test_the_same_idempotency_key_gives_the_same_task_even_at_the_same_moment(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    spec = {"command": {"argv": ["sleep", "60"]}}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: calls.StartTask(spec=spec, idempotency_key="one"), range(16)))
    assert len({answer.token for answer in answers}) == 1
    assert sorted(answer.existing for answer in answers) == [False] + [True] * 15
    other = failure_of(calls.StartTask, spec={"command": {"argv": ["sleep", "61"]}}, idempotency_key="one")
    assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_CONFLICT")
    calls.Terminate(token=answers[0].token, immediate=True)
    end_of(calls, answers[0].token)
    assert calls.StartTask(spec=spec, idempotency_key="one").existing, "a terminated task still holds its key"


def test_a_failed_task_frees_its_idempotency_key(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    spec = {"command": {"argv": ["false"]}}
    first = calls.StartTask(spec=spec, idempotency_key="two").token
    assert end_of(calls, first).outcome == task_pb2.TASK_OUTCOME_FAILED
    second = calls.StartTask(spec=spec, idempotency_key="two")
    assert not second.existing and second.token != first
    assert status_of(calls, first).idempotency_key == "two"


def test_use_existing_returns_the_live_task_of_the_same_source(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    spec = {"command": {"argv": ["sleep", "60"]}, "project_id": "p", "source": "s"}
    token = calls.StartTask(spec=spec, use_existing=True).token
    again = calls.StartTask(spec=spec, use_existing=True)
    assert again.existing and again.token == token
    calls.Terminate(token=token, immediate=True)
    end_of(calls, token)
    anew = calls.StartTask(spec={**spec, "command": {"argv": ["true"]}}, use_existing=True)
    assert not anew.existing


def test_the_bound_on_running_tasks_holds_and_positions_are_shown(make_daemon: Callable[..., Daemon]) -> None:
    calls = make_daemon("--max-running", "1").start().calls
    first = start(calls, "sleep", "60")
    waiting = [start(calls, "true"), start(calls, "true"), start(calls, "true", priority=5)]
    assert [status_of(calls, token).queue_position for token in waiting] == [1, 2, 0]
    status = status_of(calls, waiting[0])
    assert status.state == task_pb2.TASK_STATE_NONE and status.waiting_reason and not status.HasField("metrics")
    calls.Terminate(token=waiting[1])
    stopped = end_of(calls, waiting[1])
    assert (stopped.outcome, stopped.exit_code, stopped.pid) == (task_pb2.TASK_OUTCOME_CANCELLED, -1, 0)
    assert moves(calls, waiting[1]) == [(0, 0), (0, 4), (4, 6)]
    calls.Terminate(token=first, immediate=True)
    assert end_of(calls, waiting[0]).start_time >= end_of(calls, waiting[2]).start_time
    assert end_of(calls, waiting[0]).timings.queue_seconds > 0


def test_a_full_queue_is_refused_with_a_time_to_retry(make_daemon: Callable[..., Daemon]) -> None:
    calls = make_daemon("--max-running", "1", env={"TASKMETER_MAX_WAITING": "1"}).start().calls
    start(calls, "sleep", "60")
    start(calls, "sleep", "60")
    failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}})
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert failure.retry_seconds


def test_the_daemon_uses_all_descriptors_it_may_and_tasks_have_the_limit_they_would_have(
    make_daemon: Callable[..., Daemon],
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        daemon = make_daemon().start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.process is not None
    assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    token = start_python(daemon.calls, "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))")
    end_of(daemon.calls, token)
    assert read(daemon.calls, token).decode().strip() == str((512, hard))
