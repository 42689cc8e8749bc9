"""Encryption at rest, environment files, and G13: no secret where it does not belong."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cryptography.fernet import Fernet

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, read, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

SECRET = "s3cret-of-this-test"
SUCCEEDED, FAILED = task_pb2.TASK_OUTCOME_SUCCEEDED, task_pb2.TASK_OUTCOME_FAILED


def key_file(path: Path, *keys: str) -> str:
    path.write_text("# newest first\n\n" + "\n".join(keys) + "\n")
    path.chmod(0o600)
    return str(path)


def new_key() -> str:
    return Fernet.generate_key().decode()


def holders(directory: Path, secret: str = SECRET) -> list[str]:
    """Return the files below a directory that contain the secret, without what the task itself has written."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in {"stdout", "stderr"})
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


def test_what_a_task_is_given_is_sealed_and_runs_again_with_it(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon("--encryption-key-file", key_file(tmp_path / "keys", new_key())).start()
    calls = daemon.calls
    script = f'echo "$0 $PASSWORD $(cat)"; : {SECRET}; [ $TASKMETER_ATTEMPT = 1 ]'
    spec = {
        "command": {"argv": ["sh", "-c", script, f"arg-{SECRET}"]},
        "env": {"PASSWORD": f"env-{SECRET}"},
        "stdin_data": f"stdin-{SECRET}".encode(),
        "name": "open",
    }
    token = calls.StartTask(spec=spec, idempotency_key="k").token
    assert end_of(calls, token).outcome == FAILED
    expected = f"arg-{SECRET} env-{SECRET} stdin-{SECRET}\n".encode()
    assert read(calls, token) == expected
    record = calls.GetTaskRecord(token=token).record
    assert (record.func_name, record.args_json, record.encrypted, record.status.name) == ("", "[]", True, "open")
    daemon.restart()
    daemon.calls.RetryTask(token=token)
    ended = end_of(daemon.calls, token)
    assert (ended.outcome, ended.attempt) == (SUCCEEDED, 1)
    assert read(daemon.calls, token) == expected, "a retry has the arguments, environment and input of the first attempt"
    assert daemon.calls.StartTask(spec=spec, idempotency_key="k").token == token, "G2 compares what is sealed"
    other = {**spec, "env": {"PASSWORD": "another"}}
    assert failure_of(daemon.calls.StartTask, spec=other, idempotency_key="k").reason == "IDEMPOTENCY_CONFLICT"
    assert SECRET not in daemon.log()
    assert not holders(daemon.state_dir)
    assert daemon.stop() == 0
    assert not holders(daemon.state_dir)


def test_a_new_key_reseals_everything_and_the_old_one_may_go(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Tasks of before there were keys are sealed too; afterwards each task still runs."""
    old, new = new_key(), new_key()
    daemon = make_daemon("--max-running", "1").start()
    script = f'echo "$PASSWORD"; : {SECRET}; [ -e {tmp_path}/go ]'

    def add() -> str:
        return start(daemon.calls, "sh", "-c", script, env={"PASSWORD": SECRET})

    before = add()
    assert end_of(daemon.calls, before).outcome == FAILED
    assert daemon.stop() == 0
    assert holders(daemon.state_dir)
    daemon.start("--encryption-key-file", key_file(tmp_path / "keys", old))
    wait_until(lambda: "sealed 1 tasks" in daemon.log(), "it is sealed")
    between = add()
    assert end_of(daemon.calls, between).outcome == FAILED
    holding = start(daemon.calls, "sleep", "600")
    wait_for_state(daemon.calls, holding, task_pb2.TASK_STATE_RUNNING)
    waiting = add()
    assert daemon.stop() == 0
    assert not holders(daemon.state_dir)
    daemon.start("--encryption-key-file", key_file(tmp_path / "keys", new, old))
    wait_until(lambda: "sealed 4 tasks" in daemon.log(), "all are sealed anew")
    assert daemon.stop() == 0
    daemon.start("--encryption-key-file", key_file(tmp_path / "keys", new))
    (tmp_path / "go").touch()
    daemon.calls.Terminate(token=holding, immediate=True)
    for token in (before, between):
        daemon.calls.RetryTask(token=token)
    for token in (before, between, waiting):
        assert end_of(daemon.calls, token).outcome == SUCCEEDED and read(daemon.calls, token) == SECRET.encode() + b"\n"
    # The records on disk are sealed with the new key, too: a store that is built from them runs what waits in it.
    copy = daemon.calls.RetryTask(token=before, as_new=True).token
    assert copy != before and end_of(daemon.calls, copy).outcome == SUCCEEDED
    daemon.kill9()
    for path in daemon.state_dir.glob("taskmeter.db*"):
        path.unlink()
    daemon.start("--encryption-key-file", key_file(tmp_path / "keys", new))
    again = daemon.calls.RetryTask(token=before, as_new=True).token
    assert end_of(daemon.calls, again).outcome == SUCCEEDED and read(daemon.calls, again) == SECRET.encode() + b"\n"


def test_without_its_key_a_task_stays_as_it_is_and_says_why(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", new_key())
    daemon = make_daemon("--max-running", "1").start("--encryption-key-file", keys)
    failed = start(daemon.calls, "sh", "-c", f"[ -e {tmp_path}/go ]", name="failed")
    assert end_of(daemon.calls, failed).outcome == FAILED
    running = start(daemon.calls, "sleep", "600")
    wait_for_state(daemon.calls, running, task_pb2.TASK_STATE_RUNNING)
    waiting = start(daemon.calls, "sh", "-c", "echo ran")
    daemon.kill9()
    for options in ((), ("--encryption-key-file", key_file(tmp_path / "others", new_key()))):
        daemon.restart(*options)
        assert [task.name for task in daemon.calls.ListTasks(outcomes=[FAILED]).tasks] == ["failed"]
        for as_new in (False, True):
            failure = failure_of(daemon.calls.RetryTask, token=failed, as_new=as_new)
            assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_HERE")
            assert "encrypted" in failure.message and failed in failure.message
        assert status_of(daemon.calls, failed).outcome == FAILED
        assert status_of(daemon.calls, running).state == task_pb2.TASK_STATE_RUNNING, "G4: it is adopted all the same"
    daemon.calls.Terminate(token=running, immediate=True)
    wait_until(lambda: f"what task {waiting} was given is encrypted" in daemon.log(), "the log says what waits, and for what")
    assert status_of(daemon.calls, waiting).state == task_pb2.TASK_STATE_NONE
    assert end_of(daemon.calls, start(daemon.calls, "true")).outcome == SUCCEEDED, "it holds up nobody"
    daemon.restart("--encryption-key-file", keys)
    assert end_of(daemon.calls, waiting).outcome == SUCCEEDED and read(daemon.calls, waiting) == b"ran\n"
    (tmp_path / "go").touch()
    daemon.calls.RetryTask(token=failed)
    assert end_of(daemon.calls, failed).outcome == SUCCEEDED


def test_a_sealed_spec_that_was_put_under_another_task_is_refused(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", new_key())
    daemon = make_daemon("--encryption-key-file", keys).start()
    mine, theirs = (start(daemon.calls, "sh", "-c", f"echo {name}; exit 1") for name in ("mine", "theirs"))
    for token in (mine, theirs):
        end_of(daemon.calls, token)
    assert daemon.stop() == 0
    with sqlite3.connect(daemon.state_dir / "taskmeter.db") as database:
        database.execute("UPDATE tasks SET spec = (SELECT spec FROM tasks WHERE token = ?) WHERE token = ?", (theirs, mine))
    database.close()
    daemon.start()
    assert failure_of(daemon.calls.RetryTask, token=mine).reason == "UNSUPPORTED_HERE"


@pytest.mark.parametrize(
    ("content", "mode", "word"),
    [("no key", 0o600, "no key"), (None, 0o600, "cannot read"), ("# none", 0o600, "0 keys"), ("key", 0o644, "chmod 600")],
)
def test_a_key_file_that_cannot_be_used_is_refused_and_never_shown(
    tmp_path: Path, content: str | None, mode: int, word: str
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(new_key() if content == "key" else content)
        path.chmod(mode)
    command = [
        sys.executable,
        "-m",
        "taskmeter",
        "serve",
        "--state-dir",
        str(tmp_path / "state"),
        "--encryption-key-file",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4 and word in done.stderr and "Traceback" not in done.stderr
    if content == "key":
        assert path.read_text() not in done.stderr


def test_g13_secrets_show_up_nowhere_but_in_the_task(daemon: Daemon) -> None:
    """Without encryption, too: not in the supervisor's argv or environment, lists, events, statuses, the log, or errors."""
    calls = daemon.calls
    env = {"PASSWORD": SECRET}
    token = start(calls, "sh", "-c", "echo up; exec sleep 600", env=env, stdin_data=SECRET.encode())
    wait_for_output(calls, token, b"up")
    shims = [pid for pid, line in processes.of_state_dir(daemon.state_dir).items() if line.startswith("taskmeter-shim")]
    assert len(shims) == 1
    for name in ("cmdline", "environ"):
        assert SECRET.encode() not in Path(f"/proc/{shims[0]}/{name}").read_bytes()
    assert not list(daemon.state_dir.glob(f"tasks/*/{token}/0/stdin")), "the input is deleted once the task has it open"
    said = [str(calls.ListTasks()), str(status_of(calls, token)), str(calls.GetTaskRecord(token=token))]
    calls.Terminate(token=token, immediate=True)
    end_of(calls, token)
    said += [str(event) for event in events(calls, token)]
    for bad in ({"PASSWORD": SECRET + "\0"}, {"PASSWORD": SECRET * 20000}, {"": SECRET}, {"TASKMETER_X": SECRET}):
        failure = failure_of(calls.StartTask, spec={"command": {"argv": ["true"]}, "env": bad})
        assert failure.reason == "FIELD_INVALID"
        said += [failure.message, str(failure.fields), str(failure.metadata)]
    missing = end_of(calls, start(calls, "/no/such/command", env=env))
    said += [str(missing), daemon.log()]
    assert SECRET not in "".join(said)


def test_an_environment_file_brings_secrets_that_no_command_line_shows(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(f"# comment\n\nexport PASSWORD={SECRET}\nQUOTED='a b'\nPLAIN=x=y\nOVER=file\n")
    path.chmod(0o600)
    show = 'echo "$PASSWORD|$QUOTED|$PLAIN|$OVER"'
    done = daemon.cli("run", "--env-file", str(path), "--env", "OVER=option", "--", "sh", "-c", show)
    assert done.stdout == f"{SECRET}|a b|x=y|option\n"
    path.chmod(0o640)
    refused = daemon.cli("run", "--env-file", str(path), "--", "true")
    assert refused.returncode in {2, 125}
    assert "chmod 600" in refused.stderr and SECRET not in refused.stderr
    path.write_text(f"PASSWORD={SECRET}\n{SECRET}\n")
    path.chmod(0o600)
    refused = daemon.cli("submit", "--env-file", str(path), "--", "true")
    assert "line 2: not NAME=VALUE" in refused.stderr and SECRET not in refused.stderr
    assert json.loads(daemon.cli("ls", "--json").stdout or "[]") is not None
    if os.geteuid() == 0:
        path.write_text("A=b\n")
        os.chown(path, 65534, 65534)
        assert "chmod 600" in daemon.cli("submit", "--env-file", str(path), "--", "true").stderr
