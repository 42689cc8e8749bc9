"""The options that limit a task, and the filters of `stop`."""

from __future__ import annotations

import json

import pytest

from tests.daemon import Daemon


def submit(daemon: Daemon, *arguments: str) -> str:
    result = daemon.cli("submit", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_run_sets_rlimits_and_niceness(shared_daemon: Daemon) -> None:
    result = shared_daemon.cli("run", "--rlimit", "nofile=99", "--rlimit", "core=0", "--nice", "5", "sh", "-c", "ulimit -n; nice")
    assert (result.returncode, result.stdout.split()) == (0, ["99", "5"])


def test_a_run_that_idles_too_long_says_so_and_never_gives_0(shared_daemon: Daemon) -> None:
    result = shared_daemon.cli("run", "--idle", "1s", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 600 & wait; done")
    assert result.returncode != 0
    assert "no sign of work for 1 s" in result.stderr


@pytest.mark.parametrize(
    "options", [("--memory", "much"), ("--memory", "-1"), ("--rlimit", "nofile"), ("--rlimit", "nofile=x"), ("--nice", "20")]
)
def test_a_limit_that_is_none_is_a_usage_error(shared_daemon: Daemon, options: tuple[str, str]) -> None:
    result = shared_daemon.cli("submit", *options, "true")
    assert result.returncode == 2 and options[1] in result.stderr


def test_where_no_limit_can_be_kept_the_reason_is_told(make_daemon: object) -> None:
    daemon: Daemon = make_daemon("--cgroup", "off").start()  # type: ignore[operator]
    result = daemon.cli("submit", "--memory", "64M", "true")
    assert result.returncode != 0
    assert "memory" in result.stderr and "Delegate=yes" in result.stderr


def test_stop_by_project_and_by_queue_stops_those_and_no_others(shared_daemon: Daemon) -> None:
    ours = [submit(shared_daemon, "--project", "limits-a", "sleep", "60") for _ in range(2)]
    other = submit(shared_daemon, "--project", "limits-b", "sleep", "60")
    result = shared_daemon.cli("stop", "--project", "limits-a", "--now", "--json")
    assert {status["token"] for status in json.loads(result.stdout)} == set(ours)
    assert "nothing to stop" in shared_daemon.cli("stop", "--queue", "nobody-waits-there").stderr
    result = shared_daemon.cli("stop", "--queue", "default", "--project", "limits-b", "--now", "--json")
    assert [status["token"] for status in json.loads(result.stdout)] == [other]
