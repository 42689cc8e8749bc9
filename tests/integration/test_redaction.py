"""G13: what is secret is nowhere but in the task itself and in what is sealed, however much the daemon is asked to say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
from cryptography.fernet import Fernet

from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, read, start, status_of, wait_for_output
from tests.waiting import wait_until

SECRETS = {"ENV": "of-env-5a3f", "FILE": "of-file-77b1", "STDIN": "of-stdin-c20e", "ARG": "of-argv-91d4"}
WRITTEN_BY_TASKS = {"stdout", "stderr"}


def holders(directory: Path, secrets: list[str]) -> list[tuple[str, str]]:
    """Return each file below a directory, and the secret it holds in the open."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name not in WRITTEN_BY_TASKS]
    return [(str(path), secret) for path in files for secret in secrets if secret.encode() in path.read_bytes()]


def test_g13_no_secret_is_said_or_stored_in_the_open(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    keys, env_file = tmp_path / "keys", tmp_path / "env"
    sealing_key = Fernet.generate_key().decode()
    for path, text in ((keys, sealing_key), (env_file, f"FILE={SECRETS['FILE']}\n")):
        path.write_text(text + "\n")
        path.chmod(0o600)
    loud = {"TASKMETER_LOG_LEVEL": "debug", "TASKMETER_AUDIT": "all"}
    daemon = make_daemon("--encryption-key-file", str(keys), env=loud).start()
    calls = daemon.calls
    api_key = calls.CreateKey(tenant="redacted", scopes=["submit", "read", "control"]).secret
    secrets = [*SECRETS.values(), sealing_key, api_key, daemon.key]
    script = "[ $TASKMETER_ATTEMPT = 1 ] || exit 1; echo up $FILE; exec sleep 600"
    spec = {"env": {"ENV": SECRETS["ENV"]}, "stdin_data": SECRETS["STDIN"].encode(), "retry": {"max_retries": 1}}
    token = start(calls, "sh", "-c", script, SECRETS["ARG"], **spec)
    wait_for_output_of_attempt(daemon, token)
    submitted = daemon.cli("submit", "--env-file", str(env_file), "--", "sh", "-c", "echo up $FILE; exec sleep 600")
    from_file = submitted.stdout.split()[0]
    wait_for_output(calls, from_file, SECRETS["FILE"].encode())
    calls.UpdateTask(token=token, set_metadata={"a": "b"})
    said = [submitted.stdout, submitted.stderr, str(calls.ListTasks()), str(calls.ListKeys()), str(calls.GetServerInfo())]
    for each in (token, from_file):
        said += [str(status_of(calls, each)), str(calls.GetTaskRecord(token=each))]
        done = daemon.cli("status", each, "--json")
        said += [done.stdout, done.stderr]
    for options in ((), ("--json",)):
        said.append(daemon.cli("doctor", *options).stdout)
    for request in ({"env": {"X": SECRETS["ENV"] + "\0"}}, {"env": {SECRETS["ENV"] + "=": "x"}, "queue": "no such"}):
        try:
            calls.StartTask(spec={"command": {"argv": ["true", SECRETS["ARG"]]}, **request}, key=api_key)
        except grpc.RpcError as error:
            said.append(str(error.details()).replace(SECRETS["ENV"] + "=", "the name, which is no secret"))
    ours = {daemon.pid} | {
        pid for pid, line in processes.of_state_dir(daemon.state_dir).items() if line.startswith("taskmeter-shim")
    }
    assert len(ours) == 3
    said += [Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace") for pid in ours for name in ("cmdline", "environ")]
    for each in (token, from_file):
        calls.Terminate(token=each, immediate=True, reason="done")
        end_of(calls, each)
        said += [str(event) for event in events(calls, each)]
    said.append(daemon.log())
    for secret in secrets:
        found = [text[:2000] for text in said if secret in text]
        assert not found, (secret, found)
    open_files = holders(daemon.state_dir, secrets)
    assert open_files == [(str(daemon.state_dir / "admin.key"), daemon.key)], "of keys there are hashes"
    assert daemon.stop() == 0
    assert holders(daemon.state_dir, secrets[:-1]) == []


def wait_for_output_of_attempt(daemon: Daemon, token: str) -> None:
    """Wait until its second attempt has said something."""
    wait_until(lambda: status_of(daemon.calls, token).attempt == 1, "its retry")
    wait_until(lambda: b"up" in read(daemon.calls, token), "its output")


def test_g13_a_key_file_is_never_quoted(tmp_path: Path, daemon: Daemon) -> None:
    """Nor is a key that is wrong: not by the daemon, not by the command line."""
    wrong = "tm_0123456789abcdef_" + "s" * 43
    done: subprocess.CompletedProcess[str] = daemon.cli("ls", env={"TASKMETER_KEY": wrong})
    assert done.returncode != 0 and wrong not in done.stdout + done.stderr + daemon.log()
