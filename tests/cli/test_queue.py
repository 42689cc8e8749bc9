from __future__ import annotations

import json


def queue(daemon, *arguments):
    result = daemon.cli("queue", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_queues_are_put_paused_resumed_and_listed(daemon):
    assert queue(daemon, "put", "gpu", "--max-running", "2", "--max-size", "9") == "gpu\topen\t0\t2\t0\t9\n"
    assert queue(daemon, "pause", "gpu") == "gpu\tpaused\t0\t2\t0\t9\n"
    token = daemon.cli("submit", "--queue", "gpu", "true").stdout.strip()
    assert queue(daemon, "ls") == "default\topen\t0\t–\t0\t–\ngpu\tpaused\t0\t2\t1\t9\n"
    found = json.loads(queue(daemon, "ls", "--json"))
    assert [(each["name"], each["paused"], each["waitingCount"]) for each in found] == [("default", False, 0), ("gpu", True, 1)]
    status = json.loads(daemon.cli("status", token, "--json").stdout)
    assert (status["queue"], status["queuePosition"], status["waitingReason"]) == ("gpu", 0, 'queue "gpu" is paused')
    assert json.loads(queue(daemon, "resume", "gpu", "--json"))["paused"] is False
    assert daemon.cli("wait", token).returncode == 0


def test_a_queue_that_is_not_there_is_an_error_that_says_how_to_make_it(shared_daemon):
    for arguments in (["queue", "pause", "nope"], ["submit", "--queue", "nope", "true"]):
        result = shared_daemon.cli(*arguments)
        assert result.returncode == 3
        assert "taskmeter queue put nope" in result.stderr


def test_what_a_task_needs_and_waits_for_is_said_on_the_command_line(shared_daemon):
    first = shared_daemon.cli("submit", "--", "sleep", "600").stdout.strip()
    later = shared_daemon.cli("submit", "--after", first, "--priority", "3", "--", "true").stdout.strip()
    timed = shared_daemon.cli(
        "submit", "--start-in", "1h", "--need-cpus", "0.5", "--need-memory", "1.5M", "--", "true"
    ).stdout.strip()
    reasons = [json.loads(shared_daemon.cli("status", token, "--json").stdout)["waitingReason"] for token in (later, timed)]
    assert reasons[0] == f"waits for task {first}"
    assert reasons[1].startswith("waits until ")
    too_much = shared_daemon.cli("submit", "--need-memory", "900T", "--", "true")
    assert (too_much.returncode, "this host has" in too_much.stderr) == (3, True)
    for token in (first, timed):
        shared_daemon.cli("stop", "--now", token)


def test_a_size_that_is_none_is_refused(shared_daemon):
    result = shared_daemon.cli("submit", "--need-memory", "much", "--", "true")
    assert result.returncode == 2
    assert "is no size" in result.stderr
