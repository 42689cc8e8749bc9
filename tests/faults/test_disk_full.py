"""G11: a full disk is said with the right code, running tasks do not notice, and everything recovers by itself."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import Failure, end_of, failure_of, moves, start, status_of, wait_for_state
from tests.waiting import wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size_bytes in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size_bytes)
            except OSError:
                continue


@pytest.mark.root
def test_g11_a_full_disk_stores_exits_stops_and_deletes_and_refuses_new_work_until_there_is_room(small_disk: Path) -> None:
    state_dir = small_disk / "state"
    with Daemon(state_dir=state_dir) as daemon:
        calls = daemon.calls
        ending = start(calls, "sh", "-c", f"while [ ! -e {daemon.home}/go ]; do sleep 0.05; done; exit 5")
        staying, stopping = start(calls, "sleep", "600"), start(calls, "sleep", "600")
        wait_for_state(calls, ending, task_pb2.TASK_STATE_RUNNING)
        for token in (staying, stopping):
            wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
        fill(small_disk / "filler")
        heavy = {"command": {"argv": ["true"]}, "metadata": {str(number): "x" * 4000 for number in range(60)}}
        failure = failure_of(calls.StartTask, spec=heavy)
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
        assert failure.retry_seconds
        (daemon.home / "go").touch()
        ended = end_of(calls, ending, seconds=15)  # stored on a disk that is still full
        assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
        assert moves(calls, ending) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
        assert status_of(calls, staying).state == task_pb2.TASK_STATE_RUNNING
        calls.Terminate(token=stopping, immediate=True)
        assert end_of(calls, stopping, seconds=15).outcome == task_pb2.TASK_OUTCOME_CANCELLED
        failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}})  # what room there is is not for new work
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
        calls.DeleteTask(token=ending)
        assert failure_of(calls.GetTaskStatus, token=ending).reason == "TASK_NOT_FOUND"
        assert not (state_dir / "ballast").exists()
        (small_disk / "filler").unlink()
        wait_until((state_dir / "ballast").exists, "the ballast is back", seconds=10)  # 5 s by G11
        assert end_of(calls, start(calls, "true")).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
        calls.Terminate(token=staying, immediate=True)
        assert end_of(calls, staying).outcome == task_pb2.TASK_OUTCOME_CANCELLED


def limit_file_size(pid: int, size_bytes: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def test_g11_a_bound_on_file_sizes_is_a_full_disk_that_ordinary_users_can_have(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    calls = daemon.calls
    ending = start(calls, "sh", "-c", f"while [ ! -e {daemon.home}/go ]; do sleep 0.05; done; exit 5")
    staying = start(calls, "sleep", "600")
    for token in (ending, staying):
        wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    limit_file_size(daemon.pid, (daemon.state_dir / "taskmeter.db-wal").stat().st_size)
    heavy = {"command": {"argv": ["true"]}, "metadata": {str(number): "x" * 4000 for number in range(60)}}
    refused = set()

    def is_refused() -> bool:  # the log may have room of its own that is used first
        try:
            calls.StartTask(spec=heavy)
        except grpc.RpcError as error:
            refused.add(Failure(error).reason)
        return bool(refused)

    wait_until(is_refused, "new work is refused")
    assert refused == {"DISK_FULL"}
    (daemon.home / "go").touch()
    ended = end_of(calls, ending, seconds=15)
    assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
    calls.Terminate(token=staying, immediate=True)
    assert end_of(calls, staying, seconds=15).outcome == task_pb2.TASK_OUTCOME_CANCELLED
    limit_file_size(daemon.pid, resource.RLIM_INFINITY)
    wait_until((daemon.state_dir / "ballast").exists, "the ballast is back", seconds=10)  # 5 s by G11
    assert end_of(calls, start(calls, "true")).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
