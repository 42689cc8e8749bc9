"""Limits hold, and what ends a task by one is named: resources by cgroup, rlimits, niceness, idle time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.executors.cgroups import own_cgroups
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, read, start, start_python, wait_for_output, wait_for_state

MIB = 2**20
EAT_SLOWLY = """
import time
held = []
while True:
    held.append(bytearray(2**20))
    time.sleep(0.02)
"""
"""Long enough to be sampled: the peak of what is over before that is its largest process's, with the files that it maps."""
EAT = "import sys; print('up', flush=True); data = []\nfor _ in range(64): data.append(bytearray(b'x') * (4 << 20))\nprint('ate')"

CONTROLLERS = {"memory_bytes": "memory", "max_processes": "pids", "cpu_cores": "cpu"}


def can_limit(name: str) -> bool:
    """Whether this user may make cgroups of that controller, of either version, from where the tests run."""
    controller = CONTROLLERS[name]
    own = own_cgroups()
    if controller in own:
        return os.access(own[controller], os.W_OK)
    v2 = own.get("")
    if not v2 or not os.access(v2, os.W_OK):
        return False
    return controller in Path(v2, "cgroup.controllers").read_text(encoding="ascii").split()


def limited(calls: Calls, name: str, value: float, code: str, **spec: Any) -> str | None:
    """Start Python code under one limit; where that cannot be had, see that it is refused with its reason, and return None."""
    resources = {name: value, "enforce": True}
    if can_limit(name):
        return start_python(calls, code, resources=resources, **spec)
    command = {"argv": [sys.executable, "-c", code]}
    failure = failure_of(calls.StartTask, spec={"command": command, "resources": resources, **spec})
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
    return None


def test_who_needs_more_memory_than_its_limit_is_oom_killed(shared_daemon: Daemon) -> None:
    token = limited(shared_daemon.calls, "memory_bytes", 64 * MIB, EAT_SLOWLY)
    if token is None:
        return
    ended = end_of(shared_daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_OUTCOME_OOM_KILLED)
    assert (ended.exit_signal, ended.exit_code) == (9, -9)
    assert ended.exit_message == "killed by the kernel: it needed more than its limit of 64 MiB of memory"
    assert ended.metrics.peak_memory_bytes <= 64 * MIB


def test_a_child_killed_for_want_of_memory_is_named_in_the_sentence(shared_daemon: Daemon) -> None:
    code = f"import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-c', {EAT!r}]).returncode == -9 and 7)"
    token = limited(shared_daemon.calls, "memory_bytes", 64 * MIB, code)
    if token is None:
        return
    ended = end_of(shared_daemon.calls, token)
    assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 7)
    assert ended.exit_message == "exited with code 7; the kernel killed 1 of its processes for want of memory"


def test_a_kill_by_somebody_is_no_want_of_memory(shared_daemon: Daemon) -> None:
    token = limited(shared_daemon.calls, "memory_bytes", 64 * MIB, "import os; os.kill(os.getpid(), 9)")
    if token is None:
        return
    ended = end_of(shared_daemon.calls, token)
    assert (ended.outcome, ended.exit_message) == (task_pb2.TASK_OUTCOME_SIGNALED, "killed by SIGKILL")


def test_one_process_too_many_is_refused_to_the_task(shared_daemon: Daemon) -> None:
    code = (
        "import os, signal\nmade = 0\ntry:\n    while made < 50:\n        if os.fork() == 0: signal.pause()\n        made += 1\n"
        "except BlockingIOError: pass\nprint(made, flush=True)"
    )
    token = limited(shared_daemon.calls, "max_processes", 8, code, grace_period_seconds=0.1)
    if token is None:
        return
    assert end_of(shared_daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
    assert read(shared_daemon.calls, token).strip() == b"7"


def test_cpu_is_held_to_its_quota(shared_daemon: Daemon) -> None:
    code = "import time\nend = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    token = limited(shared_daemon.calls, "cpu_cores", 0.2, code)
    if token is None:
        return
    end_of(shared_daemon.calls, token)
    assert float(read(shared_daemon.calls, token)) < 0.5, "a fifth of a second, and as much again for the first period"


def test_a_limit_that_cannot_be_kept_is_refused_and_not_ignored(make_daemon: Any) -> None:
    calls = make_daemon("--cgroup", "off").start().calls
    command = {"argv": ["true"]}
    for name, word in (("memory_bytes", "memory"), ("max_processes", "processes"), ("cpu_cores", "CPU")):
        failure = failure_of(calls.StartTask, spec={"command": command, "resources": {name: 5, "enforce": True}})
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
        assert word in failure.message
    token = calls.StartTask(spec={"command": command, "resources": {"memory_bytes": 5}}).token
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED, "without enforce it is a wish"


def test_the_cgroups_of_limits_are_removed_with_the_task(daemon: Daemon) -> None:
    resources = {
        name: 64 * MIB if name == "memory_bytes" else 1 if name == "cpu_cores" else 8 for name in CONTROLLERS if can_limit(name)
    }
    token = start(daemon.calls, "true", resources={**resources, "enforce": True})
    end_of(daemon.calls, token)
    daemon.stop()  # it removes its empty bases
    own = own_cgroups()
    left = [path for place in own.values() for path in Path(place).glob(f"taskmeter-{daemon.store_id}")]
    assert not left
    daemon.start()


def test_rlimits_and_niceness_are_those_of_the_spec(shared_daemon: Daemon) -> None:
    rlimits = {"nofile": 77, "core": 0, "fsize": 1 << 30}
    token = start(shared_daemon.calls, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; nice", rlimits=rlimits, nice=7)
    end_of(shared_daemon.calls, token)
    assert read(shared_daemon.calls, token).split() == [b"77", b"77", b"0", b"7"]


def test_a_file_size_limit_ends_it_by_its_signal(shared_daemon: Daemon) -> None:
    token = start(shared_daemon.calls, "sh", "-c", "exec head -c 100000 /dev/zero", rlimits={"fsize": 1000})
    ended = end_of(shared_daemon.calls, token)
    assert (ended.outcome, ended.exit_message) == (task_pb2.TASK_OUTCOME_SIGNALED, "killed by SIGXFSZ")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"rlimits": {"files": 1}}, "spec.rlimits['files']"),
        ({"rlimits": {"nofile": -2}}, "spec.rlimits['nofile']"),
        ({"nice": 20}, "spec.nice"),
        ({"idle_ttl_seconds": 0.5}, "spec.idle_ttl_seconds"),
        ({"idle_ttl_seconds": float("nan")}, "spec.idle_ttl_seconds"),
        ({"resources": {"cpu_cores": -1}}, "spec.resources.cpu_cores"),
        ({"resources": {"memory_bytes": -1}}, "spec.resources.memory_bytes"),
        ({"resources": {"max_processes": -1}}, "spec.resources.max_processes"),
    ],
)
def test_impossible_limits_are_named(shared_daemon: Daemon, spec: dict[str, Any], field: str) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, **spec})
    assert failure.reason == "FIELD_INVALID" and field in failure.fields


def test_a_timeout_says_after_how_long(shared_daemon: Daemon) -> None:
    token = start(shared_daemon.calls, "sleep", "60", timeout_seconds=0.5)
    ended = end_of(shared_daemon.calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_TIMED_OUT)
    assert ended.exit_message == "timed out after 0.5 s, ended by SIGTERM"


@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_who_gives_no_sign_of_work_ends_idle_expired(make_daemon: Any, cgroup: str) -> None:
    calls = make_daemon("--cgroup", cgroup).start().calls
    token = start(calls, "sleep", "600", idle_ttl_seconds=1.0)
    ended = end_of(calls, token)
    assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_IDLE_EXPIRED)
    assert ended.exit_message == "stopped: it gave no sign of work for 1 s, ended by SIGTERM"
    assert ended.end_time - ended.start_time >= 1.0


WORK = {
    "burns CPU": "while time.monotonic() < end: pass",
    "writes output": "while time.monotonic() < end: print('.', flush=True); time.sleep(0.2)",
    "its child works": "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 3: pass'])",
    "reports": "from taskmeter.work import current\nwhile time.monotonic() < end: current().add(1); time.sleep(0.4)",
}


@pytest.mark.parametrize("kind", WORK)
def test_any_sign_of_work_keeps_it_alive(shared_daemon: Daemon, kind: str) -> None:
    code = f"import subprocess, sys, time\nend = time.monotonic() + 3.0\n{WORK[kind]}"
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    token = start_python(shared_daemon.calls, code, idle_ttl_seconds=1.5, env=env)
    ended = end_of(shared_daemon.calls, token)
    assert ended.outcome == task_pb2.TASK_OUTCOME_SUCCEEDED, ended.exit_message


def test_a_restart_neither_forgives_nor_forgets_idleness(daemon: Daemon) -> None:
    token = start(daemon.calls, "sh", "-c", "echo up; exec sleep 600", idle_ttl_seconds=4.0)
    wait_for_output(daemon.calls, token, b"up")
    started = wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING).start_time
    for _ in range(2):
        daemon.restart()
    ended = end_of(daemon.calls, token)
    assert ended.outcome == task_pb2.TASK_OUTCOME_IDLE_EXPIRED
    assert 4.0 <= ended.end_time - started < 4.0 + 5.0
