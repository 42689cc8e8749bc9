"""`taskmeter retry` by filter, and `taskmeter queue rm`."""

from __future__ import annotations

import json


def failed(daemon, *options):
    token = daemon.cli("submit", *options, "--", "false").stdout.strip()
    assert daemon.cli("wait", token).returncode == 1
    return token


def test_failed_tasks_are_retried_by_filter(shared_daemon):
    assert shared_daemon.cli("queue", "put", "q").returncode == 0
    tokens = [failed(shared_daemon, "--queue", "q", "--tag", "a=b") for _ in range(2)]
    other = failed(shared_daemon, "--queue", "q", "--tag", "a=c")
    wanted = ["retry", "--failed", "--tag", "a=b", "--queue", "q", "--since", "2h"]
    told = shared_daemon.cli(*wanted, "--dry-run")
    assert (told.returncode, told.stdout.split(), told.stderr) == (0, tokens, "2 would be retried\n")
    told = shared_daemon.cli(*wanted)
    assert (told.returncode, told.stdout.split(), told.stderr) == (0, tokens, "2 retried\n")
    for token in tokens:
        shared_daemon.cli("wait", token)
        assert json.loads(shared_daemon.cli("status", token, "--json").stdout)["attempt"] == 1
    copied = json.loads(shared_daemon.cli(*wanted, "--as-new", "--json").stdout)
    assert (copied["retriedCount"], copied["refusals"], copied["stopped"], copied["dryRun"]) == (2, [], None, False)
    assert not {*copied["tokens"]} & {*tokens, other}
    for token in copied["tokens"]:
        shared_daemon.cli("wait", token)
    foreseen = json.loads(shared_daemon.cli(*wanted, "--as-new", "--dry-run", "--json").stdout)
    assert (foreseen["tokens"], foreseen["copiedBeforeCount"]) == (copied["tokens"], 2)
    assert "nothing to retry" in shared_daemon.cli("retry", "--status", "timeout", "--queue", "q").stderr


def test_what_finds_no_room_is_said_with_what_to_do(shared_daemon):
    assert shared_daemon.cli("queue", "put", "crowded").returncode == 0
    tokens = [failed(shared_daemon, "--queue", "crowded") for _ in range(2)]
    shared_daemon.cli("queue", "put", "crowded", "--max-size", "1")
    shared_daemon.cli("queue", "pause", "crowded")
    told = shared_daemon.cli("retry", "--queue", "crowded", "--as-new")
    assert (told.returncode, len(told.stdout.split())) == (3, 1)
    assert f"stopped early at {tokens[1]}: QUEUE_FULL" in told.stderr
    refused = shared_daemon.cli("queue", "rm", "crowded")
    assert (refused.returncode, "taskmeter stop --queue crowded" in refused.stderr) == (3, True)
    assert shared_daemon.cli("stop", "--queue", "crowded").returncode == 0
    gone = shared_daemon.cli("queue", "rm", "crowded")
    assert (gone.returncode, gone.stdout, gone.stderr) == (0, "", "")
    told = shared_daemon.cli("retry", "--queue", "crowded")
    assert (told.returncode, told.stdout) == (0, "")
    assert f"{tokens[0]}: QUEUE_NOT_FOUND: there is no queue" in told.stderr and "2 refused" in told.stderr
    assert shared_daemon.cli("queue", "rm", "crowded").returncode == 3


def test_what_cannot_be_meant_is_refused(shared_daemon):
    for arguments in ([], ["@last", "--failed"], ["@last", "--dry-run"], ["--status", "running"], ["--status", "nonsense"]):
        result = shared_daemon.cli("retry", *arguments)
        assert (result.returncode, result.stdout) == (2, ""), arguments
