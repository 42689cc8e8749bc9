"""StartTask with `attach`: a process that runs already is metered to its end, and ended only by Terminate."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from taskmeter.errors import PreconditionError
from taskmeter.executors.target import identify
from taskmeter.model.task import Attach
from taskmeter.v1 import task_pb2, usage_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, moves, start, status_of, wait_for_state
from tests.native.users import NOBODY, as_nobody
from tests.targets import IGNORES_TERM, Targets, go_on, hear, is_alive
from tests.waiting import wait_until

BURN = """
import sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""
"""`burn(s)` uses a second of CPU per second asked for, by the process's own clock."""


@pytest.fixture
def targets() -> Iterator[Targets]:
    with Targets() as made:
        yield made


def attach(daemon: Daemon, pid: int, *, include_descendants: bool = False, **spec: Any) -> str:
    """Attach a process and wait until the task runs."""
    answer = daemon.calls.StartTask(spec={"attach": {"pid": pid, "include_descendants": include_descendants}, **spec})
    wait_for_state(daemon.calls, answer.token, task_pb2.TASK_STATE_RUNNING)
    return str(answer.token)


def shim_of(daemon: Daemon, token: str) -> int:
    found = processes.of_state_dir(daemon.state_dir).items()
    return next(pid for pid, line in found if line.startswith("taskmeter-shim") and token in line)


@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_an_attached_process_is_a_task_like_any_other_until_it_ends(
    make_daemon: Callable[..., Daemon], targets: Targets, cgroup: str
) -> None:
    daemon = make_daemon("--cgroup", cgroup).start()
    target = targets.shell("read -r _; exit 3")
    token = attach(daemon, target.pid, tags={"kind": "attached"})
    running = status_of(daemon.calls, token)
    assert (running.pid, running.name, dict(running.tags)) == (target.pid, "sh", {"kind": "attached"})
    assert running.metrics.memory_bytes > 0
    go_on(target)
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_OUTCOME_FAILED)
    assert (ended.exit_code, ended.exit_message) == (3, "exited with code 3")
    assert moves(daemon.calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert daemon.calls.GetTaskRecord(token=token).record.args_json == "[]"


def test_a_signal_that_ends_it_is_told(shared_daemon: Daemon, targets: Targets) -> None:
    target = targets.shell("read -r _")
    token = attach(shared_daemon, target.pid)
    target.kill()
    ended = end_of(shared_daemon.calls, token)
    assert (ended.outcome, ended.exit_signal) == (task_pb2.TASK_OUTCOME_SIGNALED, signal.SIGKILL)


def test_it_is_billed_for_what_it_used_from_then_on(shared_daemon: Daemon, targets: Targets) -> None:
    code = """
burn(1)
print("up", flush=True)
sys.stdin.readline()
begin = time.process_time()
burn(3)
print(time.process_time() - begin, flush=True)
sys.stdin.readline()
"""
    target = targets.python(BURN + code)
    hear(target)
    token = attach(shared_daemon, target.pid)
    go_on(target)
    used_ns = float(hear(target)) * 1e9
    go_on(target)
    usage = end_of(shared_daemon.calls, token)
    assert used_ns <= usage.metrics.cpu_time_ns <= 1.02 * used_ns
    assert usage.tokens.cpu_ns == usage.metrics.cpu_time_ns
    assert usage.metrics.source == usage_pb2.METRICS_SOURCE_CLOCK


def test_descendants_are_billed_from_their_start_or_from_when_they_were_found(shared_daemon: Daemon, targets: Targets) -> None:
    # One child burned before it was attached and burns on, one begins afterwards; both are waited for, and counted once.
    code = """
import os
def child(before, after):
    go, told = os.pipe(), os.pipe()
    if os.fork() == 0:
        burn(before)
        os.write(told[1], b"x")
        os.read(go[0], 1)
        burn(after)
        os._exit(0)
    os.read(told[0], 1)
    return go[1]
old = child(1, 1)
print("up", flush=True)
sys.stdin.readline()
young = child(0.5, 0.5)
for pipe in (old, young):
    os.write(pipe, b"x")
os.wait(), os.wait()
print("done", flush=True)
sys.stdin.readline()
"""
    target = targets.python(BURN + code)
    hear(target)
    token = attach(shared_daemon, target.pid, include_descendants=True)
    wait_until(lambda: status_of(shared_daemon.calls, token).metrics.process_count == 2, "the child is found")
    go_on(target)
    hear(target)
    go_on(target)
    assert 1.9e9 < end_of(shared_daemon.calls, token).metrics.cpu_time_ns < 2.25e9


def test_without_descendants_theirs_is_not_billed(shared_daemon: Daemon, targets: Targets) -> None:
    code = """
import os
print("up", flush=True)
sys.stdin.readline()
if os.fork() == 0:
    burn(1)
    os._exit(0)
os.wait()
print("done", flush=True)
sys.stdin.readline()
"""
    target = targets.python(BURN + code)
    hear(target)
    token = attach(shared_daemon, target.pid)
    go_on(target)
    hear(target)
    go_on(target)
    ended = end_of(shared_daemon.calls, token)
    assert ended.metrics.cpu_time_ns < 0.3e9
    assert ended.metrics.process_count == 1


@pytest.mark.parametrize("while_down", ["it burns", "it ends"])
def test_g4_a_daemon_that_is_killed_meanwhile_changes_nothing(daemon: Daemon, targets: Targets, while_down: str) -> None:
    code = """
burn(1)
print("up", flush=True)
for _ in range(3):
    sys.stdin.readline()
    burn(0.5)
    print("done", flush=True)
sys.exit(5)
"""
    target = targets.python(BURN + code)
    hear(target)
    token = attach(daemon, target.pid, include_descendants=True)
    go_on(target)
    hear(target)
    daemon.kill9()
    for _ in range(2 if while_down == "it ends" else 1):
        go_on(target)
        hear(target)
    if while_down == "it ends":
        target.wait()
        daemon.start()
    else:
        daemon.start()
        wait_until(lambda: status_of(daemon.calls, token).metrics.cpu_time_ns > 0.95e9, "what it used meanwhile is billed")
        go_on(target)
        hear(target)
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
    # Its parent reaps it at once: then what it used since it was last looked at, 0.2 s before, is not known.
    assert 1.2e9 < ended.metrics.cpu_time_ns < 1.75e9


def test_a_killed_shim_makes_it_lost_and_leaves_the_process_alone(daemon: Daemon, targets: Targets) -> None:
    target = targets.shell("sleep 600 & echo $!; read -r _")
    child = int(hear(target))
    token = attach(daemon, target.pid, include_descendants=True)
    os.kill(shim_of(daemon, token), signal.SIGKILL)
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_LOST)
    assert "left alone" in ended.exit_message
    assert is_alive(target.pid)
    assert is_alive(child)


def test_terminate_ends_it_after_its_grace_period(shared_daemon: Daemon, targets: Targets) -> None:
    target = targets.shell(IGNORES_TERM)
    hear(target)
    token = attach(shared_daemon, target.pid, grace_period_seconds=0.3)
    shared_daemon.calls.Terminate(token=token, reason="enough")
    ended = end_of(shared_daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_CANCELLED)
    assert (ended.exit_signal, ended.exit_message) == (
        signal.SIGKILL,
        "stopped on request (enough), killed after its grace period",
    )
    assert not is_alive(target.pid)


@pytest.mark.parametrize("include_descendants", [False, True])
def test_terminate_ends_descendants_only_if_they_are_included(
    shared_daemon: Daemon, targets: Targets, *, include_descendants: bool
) -> None:
    target = targets.shell("sleep 600 & echo $!; read -r _")
    child = int(hear(target))
    token = attach(shared_daemon, target.pid, include_descendants=include_descendants)
    shared_daemon.calls.Terminate(token=token, grace_period_seconds=5)
    end_of(shared_daemon.calls, token)
    assert not is_alive(target.pid)
    assert is_alive(child) is not include_descendants


def test_a_drain_lets_go_of_it(daemon: Daemon, targets: Targets) -> None:
    target = targets.shell("sleep 600 & echo $!; read -r _")
    child = int(hear(target))
    token = attach(daemon, target.pid, include_descendants=True)
    daemon.calls.Drain(grace_period_seconds=0)
    ended = end_of(daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_INTERRUPTED)
    assert (ended.exit_code, ended.exit_signal) == (-1, 0)
    assert "detached" in ended.exit_message
    last = [event.state_changed for event in events(daemon.calls, token) if event.HasField("state_changed")][-1]
    assert last.reason == "it runs on, unwatched"
    assert is_alive(target.pid)
    assert is_alive(child)


def test_one_that_waited_for_a_slot_does_not_catch_who_took_over_the_pid(
    make_daemon: Callable[..., Daemon], targets: Targets
) -> None:
    daemon = make_daemon("--max-running", "1").start()
    first = start(daemon.calls, "sleep", "600")
    target = targets.shell("read -r _")
    token = daemon.calls.StartTask(spec={"attach": {"pid": target.pid}}).token
    target.kill()
    target.wait()
    daemon.calls.Terminate(token=first, immediate=True)
    ended = end_of(daemon.calls, token)
    assert ended.outcome == task_pb2.TASK_OUTCOME_FAILED_TO_START
    assert ended.exit_message == "the process ended before it could be attached"
    assert not ended.HasField("metrics") or ended.metrics.cpu_time_ns == 0


def test_it_is_not_run_again_and_has_no_output(shared_daemon: Daemon, targets: Targets) -> None:
    calls = shared_daemon.calls
    target = targets.shell("read -r _; exit 1")
    token = attach(shared_daemon, target.pid)
    failure = failure_of(calls.ReadFile, token=token, path="stdout")
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
    assert "attached" in failure.message
    go_on(target)
    end_of(calls, token)
    for as_new in (False, True):
        assert failure_of(calls.RetryTask, token=token, as_new=as_new).reason == "NOT_RETRYABLE"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", {"A": "1"}),
        ("working_directory", "/"),
        ("stdin_data", b"x"),
        ("umask", 0o22),
        ("merge_stderr", True),
        ("shared_work_directory", True),
        ("announces_ready", True),
        ("timeout_seconds", 5.0),
        ("retry", {"max_retries": 1}),
        ("requeue_on_interrupt", True),
    ],
)
def test_what_only_a_new_process_can_have_is_refused(shared_daemon: Daemon, targets: Targets, field: str, value: Any) -> None:
    spec = {"attach": {"pid": targets.shell("read -r _").pid}, field: value}
    failure = failure_of(shared_daemon.calls.StartTask, spec=spec)
    assert (failure.reason, set(failure.fields)) == ("FIELD_INVALID", {f"spec.{field}"})


def test_a_pid_that_cannot_be_meant_is_refused(shared_daemon: Daemon, targets: Targets) -> None:
    calls = shared_daemon.calls
    ended = targets.shell("exit 0")
    wait_until(lambda: not is_alive(ended.pid), "it has ended")
    threads = targets.python("import threading; threading.Thread(target=input).start(); print('up', flush=True)")
    hear(threads)
    [thread] = {int(name) for name in os.listdir(f"/proc/{threads.pid}/task")} - {threads.pid}
    supervised = start(calls, "sleep", "600")
    wait_for_state(calls, supervised, task_pb2.TASK_STATE_RUNNING)
    for pid, problem in {
        0: "must be from 1",
        -5: "must be from 1",
        2**40: "must be from 1",
        4194303: "no process",
        1: "first process",
        ended.pid: "has ended",
        thread: "thread",
        shared_daemon.pid: "this daemon",
        shim_of(shared_daemon, supervised): "supervisor",
    }.items():
        failure = failure_of(calls.StartTask, spec={"attach": {"pid": pid}})
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"), pid
        assert problem in failure.fields["spec.attach.pid"]


def test_what_belongs_to_a_task_already_is_refused(shared_daemon: Daemon, targets: Targets) -> None:
    calls = shared_daemon.calls
    command = start(calls, "sh", "-c", "sleep 600 & wait")
    main = wait_for_state(calls, command, task_pb2.TASK_STATE_RUNNING).pid
    target = targets.shell("sleep 600 & echo $!; read -r _")
    child = int(hear(target))
    attach(shared_daemon, target.pid, include_descendants=True)
    for pid, problem in {
        main: "a task of this daemon",
        target.pid: "attached already",
        child: "one that it descends from",
    }.items():
        failure = failure_of(calls.StartTask, spec={"attach": {"pid": pid}})
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE"), pid
        assert problem in failure.message
    ours = failure_of(calls.StartTask, spec={"attach": {"pid": os.getpid(), "include_descendants": True}})
    assert (ours.reason, ours.message) == ("UNSUPPORTED_HERE", "this daemon descends from that process")


def test_the_same_idempotency_key_finds_it_again_even_when_it_has_ended(shared_daemon: Daemon, targets: Targets) -> None:
    calls = shared_daemon.calls
    target = targets.shell("read -r _; exit 0")
    spec = {"attach": {"pid": target.pid}}
    first = calls.StartTask(spec=spec, idempotency_key="attach once")
    again = calls.StartTask(spec=spec, idempotency_key="attach once")
    assert (again.token, again.existing) == (first.token, True)
    wait_for_state(calls, first.token, task_pb2.TASK_STATE_RUNNING)
    go_on(target)
    target.wait()
    end_of(calls, first.token)
    assert calls.StartTask(spec=spec, idempotency_key="attach once").token == first.token


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_users_process_is_refused_to_an_ordinary_user_and_not_to_root(shared_daemon: Daemon, targets: Targets) -> None:
    target = targets.shell("echo up; read -r _", user=NOBODY, group=NOBODY, extra_groups=[])
    hear(target)
    attach(shared_daemon, target.pid)
    with pytest.raises(PreconditionError, match="than the tasks of this daemon"):
        identify(Attach(target.pid), boot_id="", shims=frozenset(), task_uid=NOBODY - 1)

    def refuse() -> None:
        identify(Attach(target.pid), boot_id="", shims=frozenset(), task_uid=None)
        with pytest.raises(PreconditionError, match="belongs to another user than this daemon") as refused:
            identify(Attach(os.getppid()), boot_id="", shims=frozenset(), task_uid=None)
        assert refused.value.reason == "UNSUPPORTED_HERE"

    as_nobody(refuse)
