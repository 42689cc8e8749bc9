"""The shim as an ordinary user without capabilities or cgroups, and as root for another user's task."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmeter.executors import taskdir
from taskmeter.executors.accounts import Account, Accounts
from taskmeter.executors.shimfile import PACKAGED
from taskmeter.executors.taskdir import ExitKind, Stage
from tests.attempts import Attempts
from tests.native.shim.direct import block_for, exit_record, gone_record, make_attempt, run_shim

NOBODY = 65534
ACCOUNT = Account("nobody", NOBODY, NOBODY, (NOBODY, 12345), "/", "/bin/sh")


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that other users can reach, with a copy of the shim."""
    path = Path(tempfile.mkdtemp(prefix="taskmeter-shim-"))
    path.chmod(0o755)
    shutil.copy(PACKAGED, path / "shim")
    (path / "shim").chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_nobody() -> dict[str, Any]:
    """Popen's arguments for an ordinary user: another one if we are root, else ourselves."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


def give(directory: Path) -> None:
    if os.getuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


def test_an_ordinary_users_shim_runs_and_ends_a_tree(open_dir: Path, as_nobody: dict[str, Any]) -> None:
    directory = make_attempt(open_dir / "1")
    give(directory)
    block = block_for(directory, "/bin/sh", "-c", "(setsid sleep 1000 &); id -u; exit 4", grace_ns=10**8)
    status, errors = run_shim(directory, block, binary=open_dir / "shim", **as_nobody)
    assert (status, errors) == (0, b"")
    end, gone = exit_record(directory), gone_record(directory)
    assert end is not None
    assert gone is not None
    assert (end.kind, end.code) == (ExitKind.EXITED, 4)
    assert gone.final
    uid = NOBODY if os.getuid() == 0 else os.getuid()
    assert (directory / "task" / "stdout").read_text() == f"{uid}\n"


def test_an_unreadable_working_directory_is_refused_to_an_ordinary_user(open_dir: Path, as_nobody: dict[str, Any]) -> None:
    directory, locked = make_attempt(open_dir / "1"), open_dir / "locked"
    locked.mkdir(mode=0o000)
    give(directory)
    status, _ = run_shim(directory, block_for(directory, "true", cwd=os.fsencode(locked)), binary=open_dir / "shim", **as_nobody)
    end = exit_record(directory)
    assert end is not None
    locked.chmod(0o700)
    assert (status, end.kind, end.stage, end.subject) == (0, ExitKind.EXEC_FAILED, Stage.CWD, str(locked))


def test_an_ordinary_user_cannot_become_another(open_dir: Path, as_nobody: dict[str, Any]) -> None:
    directory = make_attempt(open_dir / "1")
    give(directory)
    block = block_for(directory, "true", flags=taskdir.SET_IDS, uid=12345, gid=12345)
    run_shim(directory, block, binary=open_dir / "shim", **as_nobody)
    end = exit_record(directory)
    assert end is not None
    assert (end.kind, end.stage) == (ExitKind.EXEC_FAILED, Stage.IDS)


def test_limits_and_priority_are_those_of_the_block(open_dir: Path) -> None:
    directory = make_attempt(open_dir / "1")
    limits = [(resource.RLIMIT_NOFILE, 64, 128), (resource.RLIMIT_CORE, 0, 0)]
    nice = max(5, os.nice(0))  # an ordinary user may not go below what these tests run at
    block = block_for(
        directory, "/bin/sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c; nice", rlimits=limits, flags=taskdir.HAS_NICE, nice=nice
    )
    run_shim(directory, block)
    assert (directory / "task" / "stdout").read_text().split() == ["64", "128", "0", str(nice)]


def test_a_shim_without_descriptors_says_so(open_dir: Path) -> None:
    deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12
    for limit, kind in [(10, ExitKind.EXEC_FAILED), (11, ExitKind.EXEC_FAILED), (30, ExitKind.EXITED)]:
        directory = make_attempt(open_dir / str(limit))
        script = f'exec 3<"$0"; ulimit -n {limit}; exec "$@"'
        assert run_shim(directory, block_for(directory, "true", deadline_boottime_ns=deadline), script=script)[0] == 0
        end = exit_record(directory)
        assert end is not None
        assert (end.kind, end.error) == (kind, 0 if kind is ExitKind.EXITED else errno.EMFILE)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can run tasks as another user")
async def test_a_root_daemon_runs_tasks_as_another_user_without_new_privileges(open_dir: Path) -> None:
    attempts = Attempts(open_dir / "state", accounts=Accounts(ACCOUNT))
    await attempts.start()
    try:
        script = (
            "id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; pwd; cat /dev/stdin; echo x > made; cat ../../exit; echo $?"
        )
        attempt = await attempts.shell(script, stdin_data=b"input\n")
        await attempt.over()
        work = attempts.executor.path_of(attempt.token, 1, "work")
        lines = attempt.output().splitlines()
        assert lines == ["65534", "65534", "65534 12345", "NoNewPrivs:\t1", work, "input", "1"]
        assert "Permission denied" in attempt.output("stderr")
        assert (Path(work) / "made").stat().st_uid == NOBODY
        assert (attempt.directory / "exit").stat().st_uid == 0
        assert (attempt.directory / "task" / "report").stat().st_uid == NOBODY
    finally:
        await attempts.close()
