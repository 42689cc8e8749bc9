"""G3: whoever else is told to run an attempt, and at whatever moment, it is begun once and its end is known.

Every start leaves a file that cannot be made twice. The processes are stopped at failpoints, so nothing here is left to chance.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import time

import pytest

from metercore.attempt import on_read
from taskmeter.executors import taskdir
from taskmeter.executors.records import read_facts
from taskmeter.executors.taskdir import ShimStatus
from taskmeter.failpoints import IN_SHIM, Action
from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon, clean_environment
from tests.faults.standing import go_on, standing_of, stands, starting
from tests.faults.test_recovery import BOOT_ID, set_starting
from tests.integration.helpers import end_of, moves, start, wait_for_state
from tests.native.shim.direct import block_for, make_attempt, run_shim, start_shim
from tests.waiting import wait_until

PROOF = 'n=0; set -C; while ! : > "$0.$n"; do n=$((n + 1)); done; while [ ! -e "$0.go" ]; do sleep 0.02; done'
"""Makes the file PATH.0; PATH.1 if that was there; and so on. It ends when there is a PATH.go."""
READS = ("claim", "lock", "gone", "exit", "pid")


def proof_count(path: Path) -> int:
    return len([each for each in path.parent.glob(f"{path.name}.*") if not each.name.endswith(".go")])


def flags_for(point: str) -> int:
    """Flags of a launch block whose shim is to stop at `point`."""
    return ((IN_SHIM.index(point) + 1) << 4 | Action.STOP) << taskdir.FAULT_SHIFT


def end(shim: subprocess.Popen[bytes]) -> None:
    """Kill it if it is still there."""
    if shim.poll() is None:
        shim.kill()
    shim.communicate()


@pytest.mark.parametrize("point", ["shim.after_lock", "shim.after_claim", "shim.after_fork"])
def test_g3_a_second_supervisor_leaves_wherever_the_first_one_stands(tmp_path: Path, point: str) -> None:
    directory = make_attempt(tmp_path / "attempt")
    path = tmp_path / "proof"
    command = ("/bin/sh", "-c", PROOF, str(path))
    first = start_shim(directory, block_for(directory, *command, flags=flags_for(point)))
    try:
        wait_until(lambda: stands(first.pid), "the first one stands")
        before = {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()}
        second = start_shim(directory, block_for(directory, *command))
        try:
            wait_until(lambda: second.poll() is not None, "the second one leaves")
        finally:
            end(second)
        assert second.returncode == ShimStatus.CLAIMED
        assert {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()} == before
        go_on(first.pid)
        Path(f"{path}.go").touch()
        assert first.wait(20) == ShimStatus.DONE
    finally:
        Path(f"{path}.go").touch()  # what runs by mistake ends
        end(first)
    assert run_shim(directory, block_for(directory, *command))[0] == ShimStatus.CLAIMED, "nor is it run when it has ended"
    assert proof_count(path) == 1


@pytest.mark.parametrize("cgroup", ["auto", "off"])
@pytest.mark.parametrize("point", ["shim.after_lock", "shim.after_claim", "shim.after_fork", "shim.before_exec"])
def test_g3_g4_a_daemon_that_starts_while_a_supervisor_stands_somewhere_begins_nothing_twice(
    make_daemon: Callable[..., Daemon], tmp_path: Path, point: str, cgroup: str
) -> None:
    daemon = make_daemon("--cgroup", cgroup, env={"TASKMETER_FAILPOINTS": f"{point}=stop*1"}).start()
    path = tmp_path / "proof"
    token = start(daemon.calls, "/bin/sh", "-c", PROOF, str(path))
    standing = standing_of(daemon)
    daemon.kill9()
    daemon.env = clean_environment()
    daemon.start()
    assert not daemon.calls.GetTaskStatus(token=token).status.outcome
    go_on(standing)
    wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
    Path(f"{path}.go").touch()
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
    assert moves(daemon.calls, token) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert proof_count(path) == 1


@pytest.mark.parametrize("read", READS)
def test_g3_g5_an_end_in_the_middle_of_a_look_at_it_is_not_taken_for_a_loss(
    make_daemon: Callable[..., Daemon], tmp_path: Path, read: str
) -> None:
    daemon = make_daemon().start()
    path = tmp_path / "proof"
    token = start(daemon.calls, "/bin/sh", "-c", PROOF, str(path))
    wait_until(lambda: proof_count(path), "it runs")
    daemon.kill9()
    daemon.env = clean_environment(TASKMETER_FAILPOINTS=f"reconcile.after_{read}=stop*1")
    with starting(daemon):
        Path(f"{path}.go").touch()
        wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "it has ended")
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, proof_count(path)) == (task_pb2.TASK_OUTCOME_SUCCEEDED, 1)


@pytest.mark.parametrize("read", READS)
def test_g3_what_is_read_of_an_attempt_that_ends_meanwhile_is_never_a_loss(tmp_path: Path, read: str) -> None:
    """The order itself: claimed, not alive and without an end is what a lost one looks like, and this one is not lost."""
    directory = make_attempt(tmp_path / "attempt")
    path = tmp_path / "proof"
    shim = start_shim(directory, block_for(directory, "/bin/sh", "-c", PROOF, str(path)))

    def meanwhile(name: str) -> None:
        if name == read:
            Path(f"{path}.go").touch()
            assert shim.wait(20) == ShimStatus.DONE

    try:
        wait_until(lambda: proof_count(path), "it runs")
        on_read(meanwhile)
        facts = read_facts(os.fsencode(directory), BOOT_ID, alive=False)
    finally:
        on_read(lambda _: None)
        Path(f"{path}.go").touch()
        end(shim)
    assert facts.claimed
    assert facts.alive or facts.ended is not None


@pytest.mark.parametrize("read", READS)
def test_g3_a_supervisor_that_comes_in_the_middle_of_a_look_runs_alone(
    make_daemon: Callable[..., Daemon], tmp_path: Path, read: str
) -> None:
    """The dead daemon's supervisor may come late: then the next one's must leave, and the task is neither lost nor run twice."""
    daemon = make_daemon().start()
    path = tmp_path / "proof"
    token = start(daemon.calls, "/bin/sh", "-c", PROOF, str(path), start_after_time=time() + 3600)
    assert daemon.stop() == 0
    set_starting(daemon, token, BOOT_ID)
    directory = make_attempt(next(daemon.state_dir.glob(f"tasks/*/{token}/0")))
    block = block_for(directory, "/bin/sh", "-c", PROOF, str(path), attempt=0, token=token.encode(), incarnation=77)
    daemon.env = clean_environment(TASKMETER_FAILPOINTS=f"reconcile.after_{read}=stop*1")
    with starting(daemon):
        late = start_shim(directory, block)
        wait_until(lambda: proof_count(path), "the late one runs it")
    try:
        wait_for_state(daemon.calls, token, task_pb2.TASK_STATE_RUNNING)
        Path(f"{path}.go").touch()
        assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
        assert late.wait(20) == ShimStatus.DONE
    finally:
        Path(f"{path}.go").touch()
        end(late)
    assert proof_count(path) == 1
