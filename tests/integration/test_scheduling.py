"""When a task starts: after others, after a time, when what it asked for is free."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from taskmeter.model.ids import new_token
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, read, start, start_python, status_of, wait_for_state
from tests.native.gpus import FakeNvml, build
from tests.waiting import wait_until

NONE, RUNNING = task_pb2.TASK_STATE_NONE, task_pb2.TASK_STATE_RUNNING
SUCCEEDED = task_pb2.TASK_OUTCOME_SUCCEEDED
DEPENDENCY_FAILED = task_pb2.TASK_OUTCOME_DEPENDENCY_FAILED
VISIBLE = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)"


def test_a_task_starts_when_all_it_waits_for_have_succeeded(daemon: Daemon, tmp_path: Path) -> None:
    calls, gates = daemon.calls, [tmp_path / "one", tmp_path / "two"]
    before = [start(calls, "sh", "-c", f"until test -e {gate}; do sleep 0.02; done") for gate in gates]
    token = start(calls, "true", after=before)
    assert status_of(calls, token).waiting_reason == f"waits for task {min(before)} and 1 more"
    gates[0].touch()
    end_of(calls, before[0])
    assert status_of(calls, token).waiting_reason == f"waits for task {before[1]}"
    daemon.kill9()
    daemon.restart()
    assert status_of(daemon.calls, token).waiting_reason == f"waits for task {before[1]}"
    gates[1].touch()
    assert end_of(daemon.calls, token).outcome == SUCCEEDED
    ends = [end_of(daemon.calls, each).end_time for each in before]
    assert end_of(daemon.calls, token).start_time >= max(ends)


def test_a_failed_dependency_ends_all_that_wait_for_it_and_for_them(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    first = start(calls, "sleep", "600")
    second = start(calls, "true", after=[first])
    third = [start(calls, "true", after=[second]) for _ in range(3)]
    calls.Terminate(token=first, immediate=True)
    for token in (second, *third):
        status = end_of(calls, token)
        assert (status.outcome, status.exit_code, status.start_time) == (DEPENDENCY_FAILED, -1, 0)
    assert end_of(calls, second).exit_message == f"never started: task {first}, which it waited for, ended as cancelled"
    reasons = [event.state_changed.to_state for event in events(calls, second) if event.HasField("state_changed")]
    assert reasons == [NONE, task_pb2.TASK_STATE_STOPPING, task_pb2.TASK_STATE_CANCELLED], "the table of states holds (G9)"


def test_a_dependency_that_has_ended_already_counts_at_once(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    good, bad = start(calls, "true"), start(calls, "false")
    end_of(calls, good)
    end_of(calls, bad)
    assert end_of(calls, start(calls, "true", after=[good, good])).outcome == SUCCEEDED
    assert end_of(calls, start(calls, "true", after=[good, bad])).outcome == DEPENDENCY_FAILED


def test_a_dependency_that_was_deleted_after_it_succeeded_stays_met(daemon: Daemon) -> None:
    calls = daemon.calls
    calls.PutQueue(name="q")
    calls.PauseQueue(name="q")
    good = start(calls, "true")
    token = start(calls, "true", after=[good], queue="q")
    end_of(calls, good)
    calls.DeleteTask(token=good)
    daemon.kill9()
    daemon.restart()
    assert status_of(daemon.calls, token).waiting_reason == 'queue "q" is paused'
    daemon.calls.ResumeQueue(name="q")
    assert end_of(daemon.calls, token).outcome == SUCCEEDED


@pytest.mark.parametrize("unknown", [new_token(), "no token", ""])
def test_waiting_for_a_task_that_is_not_there_is_refused(shared_daemon: Daemon, unknown: str) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "after": [unknown]})
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert failure.metadata["field"] == "spec.after[0]"


def test_a_task_does_not_start_before_its_time_and_a_restart_keeps_the_time(daemon: Daemon) -> None:
    due_time = time.time() + 5
    token = start(daemon.calls, "true", start_after_time=due_time)
    far = start(daemon.calls, "true", start_after_time=4e9)
    assert status_of(daemon.calls, token).waiting_reason.startswith("waits until 2")
    daemon.kill9()
    daemon.restart()
    assert end_of(daemon.calls, token).start_time >= due_time
    status = status_of(daemon.calls, far)
    assert (status.state, status.waiting_reason) == (NONE, "waits until 2096-10-02 07:06:40 UTC")
    daemon.calls.Terminate(token=far)
    assert end_of(daemon.calls, far).outcome == task_pb2.TASK_OUTCOME_CANCELLED


def test_what_running_tasks_asked_for_is_not_given_twice_even_after_kill9(daemon: Daemon) -> None:
    host = wait_until(lambda: _host_bytes(daemon.calls), "the host's memory is told")
    most = int(host * 0.6)
    first = start(daemon.calls, "sleep", "600", resources={"memory_bytes": most})
    wait_for_state(daemon.calls, first, RUNNING)
    second = start(daemon.calls, "true", resources={"memory_bytes": most})
    assert status_of(daemon.calls, second).waiting_reason.startswith("not enough memory: it needs ")
    daemon.kill9()
    daemon.restart()
    assert status_of(daemon.calls, second).waiting_reason.startswith("not enough memory: it needs ")
    assert end_of(daemon.calls, start(daemon.calls, "true")).outcome == SUCCEEDED, "who asks for nothing is not held up"
    daemon.calls.Terminate(token=first, immediate=True)
    assert end_of(daemon.calls, second).outcome == SUCCEEDED


def _host_bytes(calls: Calls) -> int:
    """How much memory the daemon thinks there is, from its refusal of too much."""
    failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}, "resources": {"memory_bytes": 2**60}})
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
    return int(float(failure.message.rsplit(" ", 2)[1]) * 2**30)


@pytest.fixture
def gpu_daemon(make_daemon: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Daemon:
    nvml = FakeNvml(tmp_path / "nvml", build(tmp_path_factory.mktemp("built")))
    nvml.play("count 3", "uuid 0 GPU-zero", "uuid 1 GPU-one", "uuid 2 GPU-two")
    return make_daemon(env=nvml.environment).start()


def test_each_task_sees_gpus_of_its_own_and_keeps_them_through_kill9(gpu_daemon: Daemon) -> None:
    holds = VISIBLE + "; import time; time.sleep(600)"

    def visible(token: str) -> set[str]:
        return set(wait_until(lambda: read(gpu_daemon.calls, token), "it says what it sees").decode().strip().split(","))

    one = start_python(gpu_daemon.calls, holds, resources={"gpus": 1})
    two = start_python(gpu_daemon.calls, holds, resources={"gpus": 2})
    assert (len(visible(one)), len(visible(two))) == (1, 2)
    assert visible(one) | visible(two) == {"GPU-zero", "GPU-one", "GPU-two"}
    third = start_python(gpu_daemon.calls, VISIBLE, resources={"gpus": 2})
    assert status_of(gpu_daemon.calls, third).waiting_reason == "not enough GPUs: it needs 2, 0 of 3 are free"
    none = start_python(gpu_daemon.calls, VISIBLE)
    end_of(gpu_daemon.calls, none)
    assert read(gpu_daemon.calls, none) == b"None\n", "who asks for none is told nothing"
    gpu_daemon.kill9()
    gpu_daemon.restart()
    gpu_daemon.calls.Terminate(token=one, immediate=True)
    end_of(gpu_daemon.calls, one)
    assert status_of(gpu_daemon.calls, third).waiting_reason == "not enough GPUs: it needs 2, 1 of 3 are free"
    freed = visible(two)
    gpu_daemon.calls.Terminate(token=two, immediate=True)
    end_of(gpu_daemon.calls, third)
    assert visible(third) <= {"GPU-zero", "GPU-one", "GPU-two"}
    assert visible(third) & freed


def test_more_gpus_than_there_are_is_refused(gpu_daemon: Daemon) -> None:
    failure = failure_of(gpu_daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "resources": {"gpus": 4}})
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
    assert failure.message == "spec.resources.gpus: asks for 4 GPUs; this host has 3 GPUs"
