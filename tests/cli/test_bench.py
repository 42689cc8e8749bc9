"""`taskmeter bench` against a real daemon: what it says, and that nothing of it is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.cli.terminal import Terminal
from tests.waiting import wait_until

QUICK = ("--time", "200ms")


def started(daemon):
    """Tasks of any run of `bench` that the daemon knows."""
    return json.loads(daemon.cli("ls", "--project", "taskmeter-bench", "--json").stdout)


def test_all_parts_are_announced_measured_and_cleared_up(shared_daemon):
    result = shared_daemon.cli("bench", *QUICK, "--streams", "3")
    assert result.returncode == 0, result.stderr
    plan = result.stderr.splitlines()
    assert len(plan) == 2
    assert plan[0].startswith("measuring status, start, events, stop of the daemon at unix:")
    assert f"pid {shared_daemon.pid}" in plan[0]
    assert "short tasks, at most" in plan[1] and "deleted afterwards" in plan[1]
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["status"] * 3 + ["start"] * 3 + ["events"] + ["stop"] * 2
    assert rows[6][1] == "state change → event, 3 streams"
    assert started(shared_daemon) == []


def test_json_names_the_daemon_and_every_figure_with_its_unit(shared_daemon):
    result = shared_daemon.cli("bench", *QUICK, "stop", "status", "--json")
    found = json.loads(result.stdout)
    assert found["complete"] is True
    assert (found["pid"], found["taskCount"]) == (shared_daemon.pid, 31)
    assert [measure["part"] for measure in found["measures"]] == ["status"] * 3 + ["stop"] * 2
    assert [measure["concurrency"] for measure in found["measures"]] == [1, 8, 64, 1, 1]
    for measure in found["measures"]:
        assert 0 < measure["p50Seconds"] <= measure["p99Seconds"]
        assert measure["count"] > 0
        assert (measure["perSecond"] is None) == (measure["part"] == "stop")


def test_what_it_starts_never_waits_where_there_is_little_room(make_daemon):
    daemon = make_daemon("--max-running", "2").start()
    other = daemon.cli("submit", "--", "sleep", "600").stdout.strip()
    found = json.loads(daemon.cli("bench", *QUICK, "start", "stop", "--json").stdout)
    assert [measure["concurrency"] for measure in found["measures"]] == [1, 1, 1, 1, 1]
    assert found["measures"][-1]["count"] == 1
    assert [status["token"] for status in json.loads(daemon.cli("ls", "--json").stdout)] == [other], "others are left alone"


@pytest.mark.parametrize("why", ["paused", "full"])
def test_where_a_task_would_have_to_wait_it_is_refused(make_daemon, why):
    daemon = make_daemon("--max-running", "1").start()
    if why == "paused":
        assert daemon.cli("queue", "pause", "default").returncode == 0
    else:
        daemon.cli("submit", "--", "sleep", "600")
    result = daemon.cli("bench")
    assert result.returncode == 3
    assert "hint: " in result.stderr and "measuring" not in result.stderr
    assert started(daemon) == []


def test_another_host_is_refused_before_it_is_asked_anything(shared_daemon):
    result = shared_daemon.cli("bench", "--target", "192.0.2.1:50051")
    assert result.returncode == 2
    assert "192.0.2.1:50051 is not on this host" in result.stderr and "--remote" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_was_measured_and_nothing_left(shared_daemon, number, code):
    command = [sys.executable, "-m", "taskmeter", "bench", "stop", "status", "--time", "60s", "--json"]
    with subprocess.Popen(
        command, env=shared_daemon.client_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: started(shared_daemon), "it has begun")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    found = json.loads(stdout)
    assert found["complete"] is False
    assert [measure["part"] for measure in found["measures"]] in ([], ["status"])
    assert "Traceback" not in stderr and "may be left" not in stderr
    assert started(shared_daemon) == []


def test_on_a_terminal_it_says_what_it_does_and_ctrl_c_prints_what_it_has(shared_daemon):
    with Terminal(["bench", "--time", "300ms"], shared_daemon.client_env()) as terminal:
        terminal.expect("measuring status, start, events, stop")
        terminal.expect("status: GetTaskStatus, 64 in flight")
        terminal.expect("start: `true` from start to end, 16 in flight")
        terminal.type("\x03")
        terminal.expect("deleting its tasks")
        assert terminal.code() == 130
        assert "GetTaskStatus, one by one" in terminal.text
        assert "P99" in terminal.text
    assert started(shared_daemon) == []


def test_a_daemon_that_dies_meanwhile_is_told_from_a_slow_one_and_what_is_left_is_said(daemon):
    command = [sys.executable, "-m", "taskmeter", "bench", "status", "--time", "60s", "--target", daemon.target]
    with subprocess.Popen(command, env=daemon.client_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        [status] = wait_until(lambda: started(daemon), "it has begun")
        wait_until(lambda: json.loads(daemon.cli("status", status["token"], "--json").stdout)["state"] == 3, "it runs")
        daemon.kill9()
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 4
    assert stdout.startswith("status\tGetTaskStatus, one by one\t")
    assert "error: " in stderr and "Traceback" not in stderr
    tag = status["tags"]["taskmeter-bench"]
    assert f"taskmeter stop --now --tag taskmeter-bench={tag}" in stderr
    daemon.restart()
    assert daemon.cli("stop", "--now", "--tag", f"taskmeter-bench={tag}").returncode == 0
