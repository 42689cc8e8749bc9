"""What a command finds when it starts, and what is said when it cannot."""

from __future__ import annotations

import json
import os
import signal
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.attempts import Attempts, proc

SHOW = """
import json, os, signal, sys
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
json.dump({
    "blocked": fields["SigBlk"].strip(), "ignored": fields["SigIgn"].strip(), "umask": fields["Umask"].strip(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "session": os.getsid(0) == os.getpid(), "group": os.getpgid(0) == os.getpid(),
    "cwd": os.getcwd(), "stdin": os.readlink("/proc/self/fd/0"), "oom": open("/proc/self/oom_score_adj").read().strip(),
    "no_new_privs": fields["NoNewPrivs"].strip(), "env": dict(os.environ),
}, sys.stdout)
"""


async def show(attempts: Attempts, **spec: object) -> dict[str, object]:
    attempt = await attempts.run(sys.executable, "-S", "-c", SHOW, **spec)
    ended, _ = await attempt.over()
    assert ended.exit_code == 0, attempt.output("stderr")
    shown: dict[str, object] = json.loads(attempt.output())
    return shown


async def test_a_command_starts_with_clean_signals_descriptors_and_session(attempts: Attempts) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        shown = await show(attempts)
    finally:
        signal.signal(signal.SIGUSR2, before)
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
    assert int(str(shown["ignored"]), 16) & ~(1 << 12 | 1 << 24) == 0
    assert int(str(shown["blocked"]), 16) == 0
    assert shown["descriptors"] == [0, 1, 2]
    assert shown["session"]
    assert shown["group"]
    assert shown["stdin"] == "/dev/null"
    assert shown["oom"] == proc(os.getpid(), "oom_score_adj").strip()


async def test_the_working_directory_is_the_attempts_own_unless_told(attempts: Attempts, tmp_path: Path) -> None:
    attempt = await attempts.run("pwd")
    await attempt.over()
    assert attempt.output().strip() == attempts.executor.path_of(attempt.token, 1, "work")
    attempt = await attempts.run("pwd", working_directory=str(tmp_path))
    await attempt.over()
    assert attempt.output().strip() == str(tmp_path)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_umask_is_the_one_of_the_spec(attempts: Attempts, umask: int) -> None:
    assert int(str((await show(attempts, umask=umask))["umask"]), 8) == umask


async def test_the_environment_is_the_base_then_the_specs_then_ours(attempts: Attempts) -> None:
    env = {"COLOUR": "green", "EMPTY": "", "UNICODE": "straße", "TASKMETER_TOKEN": "forged"}
    prepared = await attempts.prepare()
    os.environ["SECRET_OF_THE_DAEMON"] = "x"
    try:
        await attempts.launch(prepared, sys.executable, "-S", "-c", SHOW, env=env, environment={"TASKMETER_TARGET": "unix:/x"})
    finally:
        del os.environ["SECRET_OF_THE_DAEMON"]
    await prepared.over()
    shown = json.loads(prepared.output())["env"]
    assert {name: shown[name] for name in ("COLOUR", "EMPTY", "UNICODE")} == {"COLOUR": "green", "EMPTY": "", "UNICODE": "straße"}
    assert shown["TASKMETER_TOKEN"] == prepared.token
    assert shown["TASKMETER_ATTEMPT"] == "1"
    assert shown["TASKMETER_TASK_DIR"] == f"{prepared.directory}/task"
    assert shown["TASKMETER_TARGET"] == "unix:/x"
    assert shown["PYTHONUNBUFFERED"] == "1"
    assert shown["PATH"] == os.environ["PATH"]
    assert "SECRET_OF_THE_DAEMON" not in shown


async def test_the_childs_own_path_finds_the_command(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    tool = tmp_path / "deep" / "greet"
    tool.write_text("#!/bin/sh\necho hello from $0\n")
    tool.chmod(0o755)
    path = f"/nonexistent:{tmp_path}/deep/greet:{tmp_path}/deep"
    attempt = await attempts.run("greet", env={"PATH": path})
    await attempt.over()
    assert attempt.output() == f"hello from {tool}\n"


async def test_an_unset_path_still_finds_the_systems_commands(attempts: Attempts) -> None:
    ended, _ = await (await attempts.run("true", env={"PATH": "/nonexistent"})).over()
    assert ended.start_message == "command not found: true"
    attempt = await attempts.run("greet", env={"PATH": ""}, working_directory="/")
    ended, _ = await attempt.over()
    assert ended.start_message == "command not found: greet"


@pytest.mark.parametrize(
    ("name", "content", "mode", "code", "message"),
    [
        ("missing", None, 0, 127, "command not found: {path}"),
        ("plain", "echo never a shell\n", 0o755, 126, "cannot run {path}: Exec format error"),
        ("script", "#!/nonexistent/interpreter\n", 0o755, 126, "cannot run {path}: its interpreter was not found"),
        ("data", "no x bit\n", 0o644, 126, "cannot run {path}: Permission denied"),
    ],
)
async def test_a_command_that_cannot_run_says_why(
    attempts: Attempts, tmp_path: Path, name: str, content: str | None, mode: int, code: int, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    facts = await (await attempts.run(str(path))).until(lambda facts: facts.gone)
    assert facts.started is None
    assert facts.ended is not None
    assert facts.ended.failed_to_start
    assert (facts.ended.exit_code, facts.ended.start_message) == (code, message.format(path=path))


async def test_a_directory_is_no_command(attempts: Attempts) -> None:
    ended, _ = await (await attempts.run("/tmp")).over()
    assert (ended.exit_code, ended.start_message) == (126, "cannot run /tmp: Permission denied")


async def test_an_unusable_working_directory_is_named(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended, _ = await (await attempts.run("true", working_directory="/nonexistent/dir")).over()
    assert ended.start_message == "cannot enter working directory /nonexistent/dir: No such file or directory"
    ended, _ = await (await attempts.run("true", working_directory=f"{tmp_path}/file")).over()
    assert ended.start_message == f"cannot enter working directory {tmp_path}/file: Not a directory"


async def test_more_arguments_than_exec_takes_are_an_outcome(attempts: Attempts) -> None:
    ended, _ = await (await attempts.run("true", "x" * (1 << 20))).over()  # one string may have 128 KiB: MAX_ARG_STRLEN
    assert (ended.exit_code, ended.start_message) == (126, "cannot run true: Argument list too long")


async def test_thousands_of_arguments_arrive(attempts: Attempts) -> None:
    arguments = [f"argument {number}" for number in range(20_000)]
    attempt = await attempts.run("sh", "-c", 'echo $#; echo "$1"; eval "echo \\${$#}"', "sh", *arguments)
    await attempt.over()
    assert attempt.output() == "20000\nargument 0\nargument 19999\n"


async def test_standard_input_is_the_data_that_was_sent(attempts: Attempts) -> None:
    data = bytes(range(256)) * 4096
    attempt = await attempts.run("sha256sum", stdin_data=data)
    await attempt.over()
    assert attempt.output().split()[0] == sha256(data).hexdigest()


async def test_merged_output_keeps_its_order(attempts: Attempts) -> None:
    attempt = await attempts.shell("for n in 1 2 3; do echo out $n; echo err $n >&2; done", merge_stderr=True)
    await attempt.over()
    assert attempt.output() == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
    assert not (attempt.directory / "task" / "stderr").exists()


async def test_outputs_are_appended_even_by_two_writers(attempts: Attempts) -> None:
    attempt = await attempts.shell("(for n in $(seq 500); do echo aaaa; done) & for n in $(seq 500); do echo bbbb; done; wait")
    await attempt.over()
    assert sorted(attempt.output().split()) == ["aaaa"] * 500 + ["bbbb"] * 500


async def test_attempts_share_a_work_directory_only_if_asked(attempts: Attempts) -> None:
    first = await attempts.run("sh", "-c", "echo one > kept", shared_work_directory=True)
    await first.over()
    second = attempts.know(first.token, 2, first.incarnation + 2)
    await attempts.executor.prepare(first.token, 2, b"spec")
    await attempts.launch(second, "cat", "kept", shared_work_directory=True)
    await second.over()
    assert second.output() == "one\n"
    assert attempts.executor.path_of(first.token, 1, "work/kept") == attempts.executor.path_of(first.token, 2, "work/kept")


async def test_a_work_directory_is_fresh_otherwise(attempts: Attempts) -> None:
    first = await attempts.run("sh", "-c", "echo one > kept")
    await first.over()
    second = attempts.know(first.token, 2, first.incarnation + 2)
    await attempts.executor.prepare(first.token, 2, b"spec")
    await attempts.launch(second, "ls")
    await second.over()
    assert second.output() == ""
