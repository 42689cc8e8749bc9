"""G11: a file system that the kernel made read-only after an error is said with the right code; what runs goes on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.faults.disk import Disk
from tests.integration.helpers import failure_of, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

DISK_BYTES = 64 * 2**20


def device_of(path: Path) -> str:
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next(Path(line[0]).name for line in lines if line[1] == str(path))


def is_read_only(path: Path) -> bool:
    try:
        (path / "probe").touch()
    except OSError as error:
        return error.errno == errno.EROFS
    return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own in a file, which becomes read-only at an error."""
    made = Disk(tmp_path, DISK_BYTES, "errors=remount-ro")
    yield made.path
    made.unmount()


@pytest.mark.root
def test_g11_a_disk_that_becomes_read_only_refuses_what_cannot_be_stored_and_leaves_tasks_alone(disk: Path) -> None:
    with Daemon(state_dir=disk / "state") as daemon:
        daemon.allow_tracebacks = True
        calls = daemon.calls
        ticking = start(
            calls, "sh", "-c", f"echo begun; while [ ! -e {daemon.home}/go ]; do sleep 0.05; done; : > {daemon.home}/ran"
        )
        wait_for_state(calls, ticking, task_pb2.TASK_STATE_RUNNING)
        wait_for_output(calls, ticking, b"begun")
        Path("/sys/fs/ext4", device_of(disk), "trigger_fs_error").write_text("test\n")
        wait_until(lambda: is_read_only(disk), "the kernel makes it read-only")
        for _ in range(2):
            failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}})
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert status_of(calls, ticking).state == task_pb2.TASK_STATE_RUNNING
        (daemon.home / "go").touch()
        wait_until((daemon.home / "ran").exists, "the task went on")
        assert calls.GetServerInfo().running_count <= 1
        assert daemon.stop() == 0
