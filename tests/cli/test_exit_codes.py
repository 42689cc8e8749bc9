from __future__ import annotations

import pytest

from tests.daemon import clean_environment, run_cli


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 125", 125), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
@pytest.mark.parametrize("verb", ["run", "wait"])
def test_run_and_wait_exit_with_the_task_s_own_code(shared_daemon, verb, script, code):
    if verb == "run":
        assert shared_daemon.cli("run", "--", "sh", "-c", script).returncode == code
    else:
        token = shared_daemon.cli("submit", "--", "sh", "-c", script).stdout.strip()
        assert shared_daemon.cli("wait", token).returncode == code


def test_a_command_that_cannot_be_executed_gives_127_or_126(shared_daemon):
    assert shared_daemon.cli("run", "--", "no-such-command").returncode == 127
    result = shared_daemon.cli("run", "--", "/etc/passwd")
    assert result.returncode == 126
    assert "Permission denied" in result.stderr


def test_a_task_whose_time_was_up_never_gives_0(shared_daemon):
    assert shared_daemon.cli("run", "--timeout", "200ms", "--", "sleep", "60").returncode == 143
    script = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    assert shared_daemon.cli("run", "--timeout", "500ms", "--", "sh", "-c", script).returncode == 124


def test_wait_gives_up_with_124_and_leaves_the_task_alone(shared_daemon):
    token = shared_daemon.cli("submit", "--", "sleep", "60").stdout.strip()
    assert shared_daemon.cli("wait", "--timeout", "100ms", token).returncode == 124
    assert shared_daemon.cli("stop", "--now", token).returncode == 0
    assert shared_daemon.cli("wait", token).returncode == 137


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["logs"], ["watch"], ["stop"], ["retry"], ["rm"], ["events", "--until-terminal"], ["bill"]],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("token", ["tk_0000000000000000000000", "nothing", "x"])
def test_an_unknown_token_gives_3(shared_daemon, arguments, token):
    result = shared_daemon.cli(*arguments, token)
    assert result.returncode == 3
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""


def test_wait_for_an_unknown_token_is_a_failure_of_ours(shared_daemon):
    assert shared_daemon.cli("wait", "tk_0000000000000000000000").returncode == 125


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run"],
        ["run", "--nonsense", "--", "true"],
        ["run", "--timeout", "soon", "--", "true"],
        ["run", "--tag", "novalue", "--", "true"],
        ["stop"],
        ["stop", "--all", "tk_0000000000000000000000"],
        ["events", "--until-terminal"],
        ["ls", "--status", "nonsense"],
        ["bill", "--csv", "--json"],
        ["bench", "nonsense"],
        ["bench", "--time", "2h"],
        ["bench", "--streams", "0"],
        ["bench", "--target", "192.0.2.1:50051"],
        ["bench", "--remote", "events", "--target", "192.0.2.1:50051"],
        ["serve", "--cgroup", "maybe"],
        ["serve", "--sample-rate", "1000"],
        ["serve", "--config", "/nonexistent"],
    ],
    ids=" ".join,
)
def test_wrong_usage_gives_2(shared_daemon, arguments):
    result = shared_daemon.cli(*arguments)
    assert result.returncode == 2
    assert result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "verb", ["ls", "status", "watch", "top", "events", "logs", "stop", "retry", "rm", "bill", "bench", "submit"]
)
def test_without_a_daemon_at_the_given_target_the_code_is_4_and_none_is_started(tmp_path, verb):
    env = clean_environment(TASKMETER_TARGET=f"unix:{tmp_path}/nothing.sock", TASKMETER_STATE_DIR=str(tmp_path / "state"))
    arguments = {"submit": ["--", "true"], "ls": [], "top": [], "events": [], "bill": [], "bench": []}.get(
        verb, ["tk_0000000000000000000000"]
    )
    result = run_cli([verb, *arguments], env)
    assert result.returncode == 4
    assert "nothing.sock" in result.stderr
    assert "hint: " in result.stderr
    assert not (tmp_path / "state").exists()


def test_run_without_a_daemon_at_the_given_target_is_a_failure_of_ours(tmp_path):
    env = clean_environment(TASKMETER_TARGET=f"unix:{tmp_path}/nothing.sock")
    assert run_cli(["run", "--", "true"], env).returncode == 125


def test_a_wrong_key_is_refused_with_a_hint(shared_daemon):
    result = shared_daemon.cli("ls", env={"TASKMETER_KEY": "wrong"})
    assert result.returncode == 3
    assert "hint: " in result.stderr


def test_what_the_state_of_a_task_forbids_gives_3(shared_daemon):
    token = shared_daemon.cli("submit", "--", "sleep", "60").stdout.strip()
    assert shared_daemon.cli("rm", token).returncode == 3
    assert shared_daemon.cli("retry", token).returncode == 3
    assert shared_daemon.cli("stop", token).returncode == 0
    assert shared_daemon.cli("stop", token).returncode == 3
    assert shared_daemon.cli("retry", token).returncode == 3
    assert shared_daemon.cli("rm", token).returncode == 0
    assert shared_daemon.cli("status", token).returncode == 3


def test_the_same_idempotency_key_with_another_command_is_a_failure(shared_daemon):
    first = shared_daemon.cli("submit", "--idempotency-key", "exit-codes", "--", "true")
    again = shared_daemon.cli("submit", "--idempotency-key", "exit-codes", "--", "true")
    assert first.stdout == again.stdout
    assert shared_daemon.cli("submit", "--idempotency-key", "exit-codes", "--", "false").returncode == 3


def test_a_second_daemon_on_the_same_state_directory_gives_4_and_names_the_first(shared_daemon):
    result = shared_daemon.cli("serve")
    assert result.returncode == 4
    assert str(shared_daemon.pid) in result.stderr
