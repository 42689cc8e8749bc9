from __future__ import annotations

import csv
import io
import json
import sys

import pytest

from taskmeter.cli.group import VERBS
from tests.waiting import wait_until


def submit(daemon, *arguments, **options):
    result = daemon.cli("submit", *arguments, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def ended(daemon, *arguments):
    token = submit(daemon, *arguments)
    daemon.cli("wait", "-q", token)
    return token


def tokens(result):
    assert result.returncode == 0, result.stderr
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


def test_version_and_help(shared_daemon):
    assert shared_daemon.cli("--version").stdout.startswith("taskmeter ")
    help_text = shared_daemon.cli("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in help_text
        result = shared_daemon.cli(verb, "--help")
        assert result.returncode == 0
        assert "--json" in result.stdout


def test_ls_is_one_line_per_task_with_whole_tokens_where_nobody_looks(shared_daemon):
    first = ended(shared_daemon, "--name", "one", "--tag", "ls=lines", "--", "true")
    second = ended(shared_daemon, "--name", "two\tescaped\x1b", "--tag", "ls=lines", "--", "false")
    result = shared_daemon.cli("ls", "--tag", "ls=lines")
    assert tokens(result) == [second, first]
    assert [line.split("\t")[1:3] for line in result.stdout.splitlines()] == [
        [r"two escaped\x1b", "failed (code 1)"],
        ["one", "succeeded"],
    ]


def test_ls_filters(shared_daemon):
    good = ended(shared_daemon, "--name", "filter-a", "--tag", "ls=filters", "--project", "p1", "--", "true")
    bad = ended(shared_daemon, "--name", "filter-b", "--tag", "ls=filters", "--project", "p2", "--", "false")
    live = submit(shared_daemon, "--name", "filter-c", "--tag", "ls=filters", "--", "sleep", "60")
    with_tag = ["ls", "--tag", "ls=filters"]
    assert tokens(shared_daemon.cli(*with_tag)) == [live, bad, good]
    assert tokens(shared_daemon.cli(*with_tag, "--status", "succeeded")) == [good]
    assert tokens(shared_daemon.cli(*with_tag, "--status", "failed")) == [bad]
    assert tokens(shared_daemon.cli(*with_tag, "--status", "live")) == [live]
    assert tokens(shared_daemon.cli(*with_tag, "--status", "ended")) == [bad, good]
    assert tokens(shared_daemon.cli(*with_tag, "--project", "p1")) == [good]
    assert tokens(shared_daemon.cli(*with_tag, "--name", "filter-b")) == [bad]
    assert tokens(shared_daemon.cli(*with_tag, "-n", "1")) == [live]
    assert tokens(shared_daemon.cli(*with_tag, "--since", "1h")) == [live, bad, good]
    assert tokens(shared_daemon.cli(*with_tag, "--all")) == [live, bad, good]
    shared_daemon.cli("stop", "--now", live)


def test_a_token_may_be_shortened_and_last_is_the_newest(shared_daemon):
    token = ended(shared_daemon, "--", "true")
    for text in (token, token[:11], token[3:12], "@last"):
        assert json.loads(shared_daemon.cli("status", text, "--json").stdout)["token"] == token
    assert shared_daemon.cli("status", token[3:5]).returncode == 3


def test_status_shows_what_is_known(shared_daemon):
    token = ended(shared_daemon, "--name", "shown", "--tag", "a=b", "--project", "pro", "--", "sh", "-c", "exit 3")
    text = shared_daemon.cli("status", token).stdout
    for part in ("shown", "failed (code 3)", token, "a=b", "pro", "timeline", "cost"):
        assert part in text


def test_watch_says_each_state_once_where_nobody_looks(shared_daemon):
    token = submit(shared_daemon, "--", "sleep", "0.3")
    lines = shared_daemon.cli("watch", token).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [token] * len(lines)
    words = [line.split("\t")[1] for line in lines]
    assert words[-1] == "succeeded"
    assert len(set(words)) == len(words)


def test_logs_give_the_last_lines_and_one_stream(shared_daemon):
    token = ended(shared_daemon, "--", "sh", "-c", "seq 1 5; seq 11 15 >&2")
    result = shared_daemon.cli("logs", token)
    assert (result.stdout, result.stderr) == ("1\n2\n3\n4\n5\n", "11\n12\n13\n14\n15\n")
    assert shared_daemon.cli("logs", "-n", "2", "--stdout", token).stdout == "4\n5\n"
    result = shared_daemon.cli("logs", "-n", "1", "--stderr", token)
    assert (result.stdout, result.stderr) == ("", "15\n")
    assert shared_daemon.cli("logs", "--attempt", "0", "--stdout", token).stdout == "1\n2\n3\n4\n5\n"
    assert shared_daemon.cli("logs", "--attempt", "7", token).returncode == 2


def test_logs_follow_until_the_end(shared_daemon, tmp_path):
    script = f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo last"
    token = submit(shared_daemon, "--", "sh", "-c", script)
    wait_until(lambda: "first" in shared_daemon.cli("logs", token).stdout, "output")
    (tmp_path / "go").touch()
    assert shared_daemon.cli("logs", "-f", token).stdout == "first\nlast\n"


def test_logs_of_a_task_that_never_ran_are_empty(shared_daemon):
    token = ended(shared_daemon, "--", "no-such-command")
    result = shared_daemon.cli("logs", token)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_events_tell_the_story(shared_daemon):
    token = ended(shared_daemon, "--", "true")
    lines = shared_daemon.cli("events", token, "--from", "1", "--until-terminal").stdout.splitlines()
    assert "accepted" in lines[0]
    assert "RUNNING" in lines[3]
    assert "SUCCEEDED" in lines[-1]
    later = shared_daemon.cli("events", token, "--from", "1", "--until-terminal", "--kind", "metadata")
    assert (later.returncode, later.stdout) == (0, "")
    assert shared_daemon.cli("events", "--kind", "nonsense").returncode == 2


def test_stop_ends_by_tag_and_by_token_and_says_how(shared_daemon):
    by_tag = [submit(shared_daemon, "--tag", "stop=tag", "--", "sleep", "60") for _ in range(3)]
    result = shared_daemon.cli("stop", "--tag", "stop=tag", "--reason", "no longer needed")
    assert result.returncode == 0
    assert result.stdout.count("no longer needed") == 3
    for token in by_tag:
        assert json.loads(shared_daemon.cli("status", token, "--json").stdout)["outcome"] == 3
    assert "nothing to stop" in shared_daemon.cli("stop", "--tag", "stop=tag").stderr


def test_stop_all_ends_everything(daemon):
    for _ in range(3):
        submit(daemon, "--", "sleep", "60")
    assert daemon.cli("stop", "--all", "--now").returncode == 0
    assert tokens(daemon.cli("ls", "--status", "live")) == []


def test_stop_without_waiting_returns_while_the_task_still_stops(shared_daemon):
    token = submit(shared_daemon, "--", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    wait_until(lambda: "up" in shared_daemon.cli("logs", token).stdout, "output")
    result = shared_daemon.cli("stop", "--no-wait", "--grace", "1h", token)
    assert (result.returncode, "is stopping" in result.stdout) == (0, True)
    assert shared_daemon.cli("stop", "--grace", "100ms", token).returncode == 0
    assert json.loads(shared_daemon.cli("status", token, "--json").stdout)["exitSignal"] == 9


def test_wait_for_several_gives_the_first_code_that_is_not_0(shared_daemon):
    several = [submit(shared_daemon, "--", "sh", "-c", f"exit {code}") for code in (0, 4, 5)]
    result = shared_daemon.cli("wait", *several)
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 3


def test_retry_runs_a_failed_task_as_its_next_attempt(shared_daemon, tmp_path):
    token = ended(shared_daemon, "--", "sh", "-c", f"[ -e {tmp_path}/ok ]")
    (tmp_path / "ok").touch()
    assert shared_daemon.cli("retry", token).stdout.strip() == token
    assert shared_daemon.cli("wait", token).returncode == 0
    copy = shared_daemon.cli("retry", "--as-new", token).stdout.strip()
    assert copy != token
    assert shared_daemon.cli("wait", copy).returncode == 0


def test_rm_goes_on_after_a_refusal(shared_daemon):
    gone, live = ended(shared_daemon, "--", "true"), submit(shared_daemon, "--", "sleep", "60")
    assert shared_daemon.cli("rm", live, gone).returncode == 3
    assert shared_daemon.cli("status", gone).returncode == 3
    assert shared_daemon.cli("stop", "--now", live).returncode == 0


def test_the_bill_names_each_task_and_the_kernel_s_seconds(shared_daemon):
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    token = ended(shared_daemon, "--name", "burn", "--tag", "bill=yes", "--", sys.executable, "-c", burn)
    rows = list(csv.DictReader(io.StringIO(shared_daemon.cli("bill", "--tag", "bill=yes", "--csv").stdout)))
    assert [row["token"] for row in rows] == [token]
    assert float(rows[0]["core_seconds"]) >= 0.5
    assert float(rows[0]["tokens"]) >= 0.5 * 1020 / 3600
    plain = shared_daemon.cli("bill", token).stdout.strip().split("\t")
    assert plain[0] == token


def test_doctor_finds_nothing_broken_here(shared_daemon):
    result = shared_daemon.cli("doctor")
    assert result.returncode == 0
    for name in ("kernel", "pidfd", "procfs", "cgroup v2", "files", "state", "daemon", "meter"):
        assert name in result.stdout


def test_doctor_says_what_is_broken(shared_daemon, tmp_path):
    result = shared_daemon.cli("doctor", env={"TASKMETER_TARGET": f"unix:{tmp_path}/none"})
    assert result.returncode == 1
    assert "no daemon answers" in result.stdout


def test_drain_ends_all_tasks_as_interrupted_and_refuses_new_ones(daemon):
    token = submit(daemon, "--", "sleep", "60")
    result = daemon.cli("serve", "--drain", "--grace", "1s")
    assert result.returncode == 0
    assert "1 task being ended" in result.stdout
    daemon.cli("wait", "-q", token)
    assert json.loads(daemon.cli("status", token, "--json").stdout)["outcome"] == 5
    refused = daemon.cli("submit", "--", "true")
    assert refused.returncode == 3
    assert refused.stderr.startswith("error: ")


@pytest.mark.parametrize("verb", ["run", "ls"])
def test_the_options_name_another_daemon_than_the_environment(make_daemon, shared_daemon, verb):
    other = make_daemon().start()
    arguments = ["--", "true"] if verb == "run" else []
    for option in (["--state-dir", str(other.state_dir)], ["--target", other.target, "--state-dir", str(other.state_dir)]):
        result = shared_daemon.cli(verb, *option, *arguments, env={"TASKMETER_TARGET": "unix:/nowhere"})
        assert result.returncode == 0, result.stderr


def test_a_task_can_use_the_command_line_itself(shared_daemon):
    command = [sys.executable, "-m", "taskmeter", "submit", "--", "true"]
    inner = shared_daemon.cli("run", "-q", "--", *command)
    assert inner.returncode == 0, inner.stderr
    assert inner.stdout.startswith("tk_")
