"""G11: a daemon without descriptors says so, and still orders stops and learns of ends."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start, status_of, wait_for_state
from tests.waiting import wait_until

ROOM_COUNT = 24
"""Descriptors the daemon may still open when its clients begin to take them."""


def open_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def no_descriptors(daemon: Daemon) -> Iterator[None]:
    """Lower the daemon's limit to little more than it has open, and take the rest with connections."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    limit = max(map(int, os.listdir(f"/proc/{daemon.pid}/fd"))) + ROOM_COUNT
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    channels = []
    for _ in range(2 * ROOM_COUNT):
        channel = grpc.insecure_channel(daemon.target, options=[("grpc.use_local_subchannel_pool", 1)])
        channel.subscribe(lambda _: None, try_to_connect=True)
        channels.append(channel)
    try:
        wait_until(lambda: open_count(daemon.pid) >= limit, "all descriptors are taken")
        yield
    finally:
        for channel in channels:
            channel.close()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def test_g11_without_descriptors_ends_and_stops_still_work_and_new_tasks_are_refused(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon("--max-running", "3").start()
    calls = daemon.calls
    go = daemon.home / "go"
    ending = start(calls, "sh", "-c", f"while [ ! -e {go} ]; do sleep 0.05; done; exit 5")
    staying, stopping = start(calls, "sleep", "600"), start(calls, "sleep", "600")
    for token in (ending, staying, stopping):
        wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    waiting = start(calls, "true")
    with no_descriptors(daemon):
        failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}})
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        Path(go).touch()
        ended = end_of(calls, ending, seconds=15)
        assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
        calls.Terminate(token=stopping, immediate=True)
        assert end_of(calls, stopping, seconds=15).outcome == task_pb2.TASK_OUTCOME_CANCELLED
        assert status_of(calls, staying).state == task_pb2.TASK_STATE_RUNNING
    assert end_of(calls, waiting).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED  # accepted before, it waited for descriptors
    wait_until(lambda: end_of(calls, start(calls, "true")).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED, "it starts tasks again")
    assert status_of(calls, staying).state == task_pb2.TASK_STATE_RUNNING
