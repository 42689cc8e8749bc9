"""Retries at the command line: asked for by `run` and `submit`, shown by `status` and `ls`."""

from __future__ import annotations

import json

import pytest

from tests.waiting import wait_until

COUNTING = 'echo "out $TASKMETER_ATTEMPT"; echo "err $TASKMETER_ATTEMPT" >&2; exit $((2 - TASKMETER_ATTEMPT))'


def status(daemon, token):
    return json.loads(daemon.cli("status", token, "--json").stdout)


def test_run_shows_the_output_of_every_attempt_and_exits_with_the_code_of_the_last(shared_daemon):
    result = shared_daemon.cli("run", "--retries", "3", "--retry-delay", "100ms", "--", "sh", "-c", COUNTING)
    assert (result.returncode, result.stdout) == (0, "out 0\nout 1\nout 2\n")
    assert [line for line in result.stderr.splitlines() if line.startswith("err")] == ["err 0", "err 1", "err 2"]
    used = shared_daemon.cli("status", "@last").stdout
    assert "3 · 2 of 3 retries used" in used


def test_run_exits_with_the_last_failure_when_retries_are_used_up(shared_daemon):
    assert shared_daemon.cli("run", "-q", "--retries", "1", "--", "sh", "-c", COUNTING).returncode == 1


def test_an_attempt_without_output_does_not_hide_the_next(shared_daemon, tmp_path):
    there = tmp_path / "tool"
    script = f"printf '#!/bin/sh\\necho made\\n' > {there}; chmod +x {there}"
    options = ["run", "-q", "--retries", "50", "--retry-delay", "100ms", "--retry-on", "failed-to-start"]
    maker = shared_daemon.cli("submit", "--", "sh", "-c", f"while ! [ -e {tmp_path}/go ]; do :; done; {script}").stdout.strip()
    (tmp_path / "go").touch()
    result = shared_daemon.cli(*options, "--", str(there))
    assert (result.returncode, result.stdout) == (0, "made\n")
    assert shared_daemon.cli("wait", maker).returncode == 0


def test_logs_follow_over_attempts_or_one_of_them(shared_daemon):
    token = shared_daemon.cli("submit", "--retries", "3", "--retry-delay", "200ms", "--", "sh", "-c", COUNTING).stdout.strip()
    assert shared_daemon.cli("logs", "-f", token, "--stdout").stdout.endswith("out 2\n")
    assert shared_daemon.cli("logs", token, "--attempt", "1", "--stdout").stdout == "out 1\n"


def test_status_and_ls_say_which_retry_is_waited_for(shared_daemon):
    options = ["--retries", "4", "--retry-delay", "1h", "--retry-backoff", "2", "--retry-max-delay", "3h"]
    token = shared_daemon.cli("submit", *options, "--", "sh", "-c", "exit 6").stdout.strip()
    waiting = wait_until(lambda: (found := status(shared_daemon, token))["attempt"] and found, "its retry")
    assert (waiting["retriesUsed"], waiting["maxRetries"], waiting["state"]) == (1, 4, 0)
    shown = shared_daemon.cli("status", token).stdout
    assert "waiting   retry 1 of 4 in 3" in shown and "(exited with code 6)" in shown
    line = next(line for line in shared_daemon.cli("ls").stdout.splitlines() if line.startswith(token))
    assert line.split("\t")[2].startswith("waiting (retry 1 of 4 in 3"), line
    assert shared_daemon.cli("stop", token).returncode == 0
    assert status(shared_daemon, token)["outcome"] == 3


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        (["--retry-on", "1"], 1),
        (["--retry-on", "2"], 2),
        (["--retry-on", "lost", "--retry-on", "oom"], 1),
        (["--retry-on", "Failed"], 3),
    ],
)
def test_retry_on_takes_outcomes_and_exit_codes(shared_daemon, options, attempts):
    shared_daemon.cli("run", "-q", "--retries", "9", *options, "--", "sh", "-c", COUNTING)
    assert status(shared_daemon, "@last")["attempt"] + 1 == attempts


@pytest.mark.parametrize(
    "options",
    [
        ["--retry-delay", "1s"],
        ["--retry-on", "failed"],
        ["--retries", "1", "--retry-on", "succeeded"],
        ["--retries", "1", "--retry-on", "256"],
        ["--retries", "-1"],
    ],
)
def test_options_that_cannot_be_meant_are_refused(shared_daemon, options):
    result = shared_daemon.cli("submit", *options, "--", "true")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr
