"""Tasks as another user: whom the settings of a root daemon name, and nobody else (reliability: Security)."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.errors import InvalidArgumentError, PreconditionError
from taskmeter.executors.accounts import Account, Accounts, load_accounts
from taskmeter.v1 import task_pb2
from tests import processes
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import (
    end_of,
    failure_of,
    read,
    start,
    status_of,
    wait_for_output,
)
from tests.native.users import as_nobody
from tests.waiting import wait_until

root = pytest.mark.root
SUCCEEDED, FAILED_TO_START = task_pb2.TASK_OUTCOME_SUCCEEDED, task_pb2.TASK_OUTCOME_FAILED_TO_START
NOBODY, OTHER = "nobody", "daemon"
USERS = ("--task-user", NOBODY, "--task-users", OTHER)


def open_daemon(make_daemon: Callable[..., Daemon], *options: str) -> Daemon:
    """A daemon whose state directory other users can get to."""
    daemon = make_daemon(*options)
    daemon.home.chmod(0o755)
    return daemon


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return open_daemon(make_daemon, *USERS).start()


def shell(calls: Calls, script: str, **spec: Any) -> tuple[int, list[str]]:
    """Run a script; return its outcome and the lines it wrote."""
    token = start(calls, "sh", "-c", script, **spec)
    return end_of(calls, token).outcome, read(calls, token).decode().splitlines()


@root
@pytest.mark.parametrize("user", ["", NOBODY, OTHER])
def test_a_task_is_that_user_and_nobody_more(daemon: Daemon, user: str) -> None:
    who = pwd.getpwnam(user or NOBODY)
    script = (
        "id -u; id -g; id -G; echo $HOME $USER $LOGNAME $SHELL; grep -h NoNewPrivs /proc/self/status; pwd; "
        "echo x > made; stat -c %U made"
    )
    token = start(daemon.calls, "sh", "-c", script, user=user)
    assert end_of(daemon.calls, token).outcome == SUCCEEDED, read(daemon.calls, token, "stderr")
    [work] = daemon.state_dir.glob(f"tasks/*/{token}/0/task/work")
    groups = " ".join(map(str, dict.fromkeys((who.pw_gid, *os.getgrouplist(who.pw_name, who.pw_gid)))))
    assert read(daemon.calls, token).decode().splitlines() == [
        str(who.pw_uid), str(who.pw_gid), groups, f"{who.pw_dir} {who.pw_name} {who.pw_name} {who.pw_shell}", "NoNewPrivs:\t1",
        str(work), who.pw_name,
    ]  # fmt: skip
    assert {path.stat().st_uid for path in (work, work.parent, work.parent / "stdout", work.parent / "report")} == {who.pw_uid}
    records = [path for path in work.parent.parent.iterdir() if path.name != "task"]
    assert records and {path.stat().st_uid for path in records} == {0}, "it cannot forge its own end"


@root
def test_a_task_can_read_nothing_of_the_daemon_and_of_others(daemon: Daemon) -> None:
    calls, state = daemon.calls, daemon.state_dir
    token = start(calls, "true", env={"SECRET": "x"}, user=OTHER)
    end_of(calls, token)
    [attempt] = state.glob(f"tasks/*/{token}/0")
    secrets = [path for path in (*state.iterdir(), *attempt.rglob("*")) if path.is_file()]
    assert {path.name for path in secrets} >= {"taskmeter.db", "admin.key", "audit.jsonl", "spec", "exit", "stdout"}
    harmless = {"cgroups", "daemon.json"}
    names = " ".join(f"'{path}'" for path in secrets if path.name not in harmless)
    _, lines = shell(
        calls,
        f"for file in {names}; do cat $file && echo $file; echo x >> $file && echo $file; done; ls {state} {state}/tasks",
    )
    assert lines == []


@root
def test_what_the_daemon_does_with_its_tasks_goes_on(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[retention]\ninterval_seconds = 0.1\nlog_max_bytes = 1048576\n")
    daemon = open_daemon(make_daemon, *USERS, "--config", str(config)).start()
    calls, big = daemon.calls, 24 * 2**20
    token = start(
        calls, "sh", "-c", f"mkdir -p d/e; chmod 0 d; cat; yes | head -c {big}; sleep 600", user=OTHER, stdin_data=b"given\n"
    )
    wait_for_output(calls, token, b"given")
    [output] = daemon.state_dir.glob(f"tasks/*/{token}/0/task/stdout")
    wait_until(lambda: output.stat().st_size >= big, "it has written")
    wait_until(lambda: output.stat().st_blocks * 512 < big - 2**20, "the head of its output is given back")
    assert status_of(calls, token).metrics.memory_bytes > 0, "it is metered"
    quota = calls.CreateKey(scopes=["submit"], quotas={"disk_bytes": 2**20})
    failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}}, key=quota.secret)
    assert failure.reason == "QUOTA_EXCEEDED", "what it wrote is counted"
    tree = start(calls, "sh", "-c", "setsid sleep 600 & trap '' TERM; echo up; while :; do sleep 1; done", user=OTHER)
    wait_for_output(calls, tree, b"up")
    for each in (token, tree):
        calls.Terminate(token=each, immediate=True)
        assert end_of(calls, each).state == task_pb2.TASK_STATE_CANCELLED
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "no process of them is left")
    calls.DeleteTask(token=token)
    wait_until(lambda: not list(daemon.state_dir.glob(f"tasks/*/{token}")) and not list(daemon.state_dir.glob("trash/*")), "gone")


def gate(daemon: Daemon, **spec: Any) -> str:
    """A task that ends when the file `go` is there."""
    token = start(daemon.calls, "sh", "-c", f"id -un; until test -e {daemon.home}/go; do sleep 0.05; done", **spec)
    wait_for_output(daemon.calls, token, b"\n")
    return token


@root
def test_the_user_is_kept_when_the_database_is_lost(daemon: Daemon) -> None:
    first = gate(daemon, user=OTHER)
    waiting = start(daemon.calls, "id", "-un", user=OTHER, after=[first])
    daemon.kill9()
    for path in daemon.state_dir.glob("taskmeter.db*"):
        path.unlink()
    daemon.start()
    (daemon.home / "go").touch()
    for token in (first, waiting):
        assert end_of(daemon.calls, token).outcome == SUCCEEDED
        assert read(daemon.calls, token).decode().split() == [OTHER]


@root
def test_a_user_that_is_no_longer_allowed_ends_the_task_with_the_reason(daemon: Daemon) -> None:
    first = gate(daemon)
    token = start(daemon.calls, "true", user=OTHER, after=[first])
    plain = start(daemon.calls, "id", "-un", after=[first])
    daemon.kill9()
    daemon.options = ()
    daemon.start()
    (daemon.home / "go").touch()
    status = end_of(daemon.calls, token)
    assert status.outcome == FAILED_TO_START
    assert status.exit_message == f"the supervisor could not be started: this daemon may no longer run tasks as {OTHER}"
    assert end_of(daemon.calls, plain).outcome == SUCCEEDED and read(daemon.calls, plain) == b"root\n"


@root
def test_only_processes_of_the_tasks_user_can_be_attached(daemon: Daemon) -> None:
    spec = {"attach": {"pid": os.getpid()}}
    assert failure_of(daemon.calls.StartTask, spec=spec).reason == "UNSUPPORTED_HERE"
    failure = failure_of(daemon.calls.StartTask, spec={**spec, "user": OTHER})
    assert set(failure.fields) == {"spec.user"}


@root
@pytest.mark.parametrize("user", ["root", "games", "no such user"])
def test_another_name_is_refused_by_name(daemon: Daemon, user: str) -> None:
    failure = failure_of(daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "user": user})
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == {"spec.user": "must be one of daemon, nobody, whom this daemon may run tasks as"}


@root
def test_the_command_line_leaves_its_own_home_out(daemon: Daemon) -> None:
    told = daemon.cli("run", "--user", OTHER, "--cwd", "/", "--", "sh", "-c", "id -un; echo $HOME; exit 3")
    assert (told.returncode, told.stdout.split()) == (3, [OTHER, pwd.getpwnam(OTHER).pw_dir]), told.stderr
    told = daemon.cli("run", "--cwd", "/", "--", "sh", "-c", "id -un; echo $HOME", env={"HOME": os.environ["HOME"]})
    assert told.stdout.split()[0] == NOBODY


@root
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--task-user", "no such user"), "task_user: there is no user 'no such user' on this host"),
        (("--task-users", "daemon,root"), "task_users: root is root, whom tasks run as when nothing is set"),
        (("--task-user", NOBODY), "task_user: nobody cannot get to the state directory: "),
    ],
)
def test_a_root_daemon_with_a_setting_that_cannot_work_says_so_and_does_not_start(
    make_daemon: Callable[..., Daemon], options: tuple[str, ...], problem: str
) -> None:
    told = make_daemon().cli("serve", *options, timeout=30)
    assert told.returncode != 0 and problem in told.stderr


def test_an_ordinary_users_daemon_does_not_start_with_another_user() -> None:
    def check() -> None:
        for settings in ((NOBODY, ""), ("", NOBODY)):
            with pytest.raises(InvalidArgumentError, match="only a daemon that runs as root can run tasks as somebody else"):
                load_accounts(*settings, Path("/"))
        assert not load_accounts("", "", Path("/"))

    as_nobody(check) if os.geteuid() == 0 else check()


def test_where_nobody_is_listed_no_user_can_be_asked_for(shared_daemon: Daemon) -> None:
    failure = failure_of(shared_daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "user": NOBODY})
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
    assert failure.metadata["field"] == "spec.user"


@pytest.fixture
def closed() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_accounts_know_whom_a_task_may_name(closed: Path) -> None:
    one = Account("one", 1001, 1001, (1001,), "/home/one", "/bin/sh")
    accounts = Accounts(one, {"one": one})
    assert accounts.of("") is one and accounts.of("one") is one and Accounts().of("") is None
    accounts.check("")
    with pytest.raises(InvalidArgumentError):
        accounts.check("two")
    with pytest.raises(PermissionError, match="may no longer run tasks as two"):
        accounts.of("two")
    with pytest.raises(PreconditionError):
        Accounts().check("one")
