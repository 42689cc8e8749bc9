"""G11: a full disk is said with the right code, running tasks do not notice, and everything recovers by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, start, status_of, wait_for_state
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
def test_g11_exit_codes_survive_a_full_disk_and_new_work_is_refused_until_there_is_room(small_disk: Path) -> None:
    with Daemon(state_dir=small_disk / "state") as daemon:
        calls = daemon.calls
        ending = start(calls, "sh", "-c", f"while [ ! -e {daemon.home}/go ]; do sleep 0.05; done; exit 5")
        staying = start(calls, "sleep", "600")
        wait_for_state(calls, ending, task_pb2.TASK_STATE_RUNNING)
        wait_for_state(calls, staying, task_pb2.TASK_STATE_RUNNING)
        fill(small_disk / "ballast")
        heavy = {"command": {"argv": ["true"]}, "metadata": {str(number): "x" * 4000 for number in range(60)}}
        failure = failure_of(calls.StartTask, spec=heavy)
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
        assert failure.retry_seconds
        (daemon.home / "go").touch()
        shim_gone = f"{ending}/0"
        wait_until(
            lambda: shim_gone not in subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout, "end"
        )
        assert status_of(calls, staying).state == task_pb2.TASK_STATE_RUNNING
        (small_disk / "ballast").unlink()
        ended = end_of(calls, ending)
        assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
        assert moves(calls, ending) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
        assert end_of(calls, start(calls, "true")).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
        calls.Terminate(token=staying, immediate=True)
        assert end_of(calls, staying).outcome == task_pb2.TASK_OUTCOME_CANCELLED
