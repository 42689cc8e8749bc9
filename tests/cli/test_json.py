from __future__ import annotations

import json

import pytest

from taskmeter.client.view import status_view
from taskmeter.v1 import task_pb2

DOCUMENTED = set(status_view(task_pb2.TaskStatus()))


@pytest.fixture(scope="module")
def ended(shared_daemon):
    token = shared_daemon.cli("submit", "--tag", "of=json", "--", "sh", "-c", "echo out; echo err >&2; exit 3").stdout.strip()
    assert shared_daemon.cli("wait", "-q", token).returncode == 3
    return token


@pytest.mark.parametrize("verb", ["status", "wait"])
def test_one_task_is_one_object_with_every_documented_key(shared_daemon, ended, verb):
    status = json.loads(shared_daemon.cli(verb, ended, "--json").stdout)
    assert set(status) == DOCUMENTED
    assert (status["token"], status["state"], status["outcome"], status["exitCode"], status["completed"]) == (
        ended,
        5,
        2,
        3,
        True,
    )
    assert status["metrics"]["cpu_time_ns"] >= 0
    assert status["metrics"]["gpu_memory_mb"] is None or status["metrics"]["gpu_memory_mb"] >= 0
    assert status["tokens"]["total"] >= 0


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--all"], ["top", "--all"], ["ls", "--tag", "of=json"]], ids=" ".join)
def test_a_list_is_one_array_of_whole_objects(shared_daemon, ended, arguments):
    found = json.loads(shared_daemon.cli(*arguments, "--json").stdout)
    assert all(set(status) == DOCUMENTED for status in found)
    assert ended in [status["token"] for status in found]


def test_an_empty_list_is_an_empty_array(shared_daemon):
    assert json.loads(shared_daemon.cli("ls", "--tag", "no=such", "--json").stdout) == []


def test_submit_retry_and_stop_give_the_status_too(shared_daemon, ended):
    started = json.loads(shared_daemon.cli("submit", "--json", "--", "sleep", "60").stdout)
    assert set(started) == DOCUMENTED
    (stopped,) = json.loads(shared_daemon.cli("stop", started["token"], "--json").stdout)
    assert (stopped["token"], stopped["outcome"]) == (started["token"], 3)
    again = json.loads(shared_daemon.cli("retry", "--as-new", started["token"], "--json").stdout)
    assert again["token"] != started["token"]
    assert json.loads(shared_daemon.cli("stop", "--now", again["token"], "--json").stdout)[0]["completed"]
    assert json.loads(shared_daemon.cli("rm", again["token"], "--json").stdout) == [again["token"]]


def test_events_are_one_object_per_line_in_order(shared_daemon, ended):
    lines = shared_daemon.cli("events", ended, "--from", "1", "--until-terminal", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    moves = [(event["stateChanged"]["from"], event["stateChanged"]["to"]) for event in events if event["kind"] == 1]
    assert moves == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert set(events[-1]["stateChanged"]["status"]) == DOCUMENTED


def test_watch_gives_a_status_per_line_until_the_end(shared_daemon):
    token = shared_daemon.cli("submit", "--", "sleep", "0.3").stdout.strip()
    lines = shared_daemon.cli("watch", token, "--json").stdout.splitlines()
    assert [json.loads(line)["token"] for line in lines] == [token] * len(lines)
    assert json.loads(lines[-1])["completed"]


def test_logs_are_pieces_with_their_place(shared_daemon, ended):
    pieces = [json.loads(line) for line in shared_daemon.cli("logs", ended, "--json").stdout.splitlines()]
    assert pieces == [
        {"stream": "stdout", "offset": 0, "text": "out\n"},
        {"stream": "stderr", "offset": 0, "text": "err\n"},
    ]


def test_the_bill_adds_up(shared_daemon, ended):
    bill = json.loads(shared_daemon.cli("bill", "--json").stdout)
    assert ended in [line["token"] for line in bill["tasks"]]
    for key in ("core_seconds", "gib_hours", "tokens", "currency"):
        assert bill["total"][key] == pytest.approx(sum(line[key] for line in bill["tasks"]))
    assert bill["total"]["currency"] == pytest.approx(bill["total"]["tokens"] / 100)


def test_doctor_grades_every_finding(shared_daemon):
    findings = json.loads(shared_daemon.cli("doctor", "--json").stdout)
    assert {finding["grade"] for finding in findings} <= {"fine", "less", "fact"}
    daemon = next(finding for finding in findings if finding["name"] == "daemon")
    assert str(shared_daemon.pid) in daemon["text"]
