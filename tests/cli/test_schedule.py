from __future__ import annotations

import json


def schedule(daemon, *arguments):
    result = daemon.cli("schedule", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_schedules_are_put_shown_paused_resumed_run_and_removed(daemon):
    made = json.loads(schedule(daemon, "put", "--every", "1h", "--name", "n", "--json", "hourly", "--", "true"))
    assert (made["name"], made["taskName"], made["timing"]["everySeconds"]) == ("hourly", "n", 3600.0)
    zone = ("--cron", "30 2 * * 1-5", "--timezone", "Europe/Berlin")
    assert schedule(daemon, "put", *zone, "nightly", "true").startswith("nightly\t30 2 * * 1-5 Europe/Berlin\ton\t")
    assert schedule(daemon, "put", "--at", "2040-01-31T18:00", "late", "true").startswith("late\tat 2040-01-31 18:00:00\ton\t")
    assert schedule(daemon, "pause", "hourly").split("\t")[2] == "paused"
    assert json.loads(schedule(daemon, "show", "hourly", "--json"))["paused"] is True
    token = schedule(daemon, "run", "hourly", "--idempotency-key", "k").strip()
    again = json.loads(schedule(daemon, "run", "hourly", "--idempotency-key", "k", "--json"))
    assert (again["token"], again["existing"], again["schedule"]["lastToken"]) == (token, True, token)
    assert token in daemon.cli("ls", "--tag", "taskmeter.schedule=hourly").stdout
    assert schedule(daemon, "resume", "hourly").split("\t")[2] == "on"
    assert [each["name"] for each in json.loads(schedule(daemon, "ls", "--json"))] == ["hourly", "late", "nightly"]
    assert schedule(daemon, "rm", "nightly") == ""
    assert [line.split("\t")[0] for line in schedule(daemon, "ls").splitlines()] == ["hourly", "late"]
    missing = daemon.cli("schedule", "show", "nightly")
    assert (missing.returncode, "taskmeter schedule ls" in missing.stderr) == (3, True)


def test_what_cannot_be_meant_is_said(shared_daemon):
    wrong = {
        ("--every", "1s", "--at", "2040-01-01", "x", "true"): "give one of --every, --at, --cron",
        ("--every", "1s", "x", "--tag", "a=b", "true"): "options come before it",
        ("--every", "1s", "x", "--"): "what follows SCHEDULE is the command",
        ("--at", "tomorrow", "x", "true"): "such as 2030-01-31T18:00",
        ("--cron", "61 * * * *", "x", "true"): "bad minute; such as '30 2 * * 1-5'",
        ("--cron", "* * * * *", "--timezone", "Mars/X", "x", "true"): "such as Europe/Berlin",
        ("--every", "1s", "--idempotency-key", "k", "x", "true"): "keys of its own",
    }
    for arguments, text in wrong.items():
        result = shared_daemon.cli("schedule", "put", *arguments)
        assert (result.returncode, text in result.stderr) == (2, True), result.stderr
