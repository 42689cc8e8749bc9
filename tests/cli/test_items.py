from __future__ import annotations

import json
import re
import sys

import pytest

CODE = """
import os
from metercore.itemlog import ItemLog
log = ItemLog(os.environ["TASKMETER_TASK_DIR"] + "/items")
for i in range(1200):
    log.item(i, 3, stage="render")
log.item("a.pdf", 2, stage="read", worker="w1")
log.step("a.pdf", "open", 1, stage="read", worker="w1")
log.step("a.pdf", "open", 4, stage="read", worker="w1", error="no such page", duration_seconds=0.42)
log.item("a.pdf", 4, stage="read", attempt=1, error="gave\\tup", size=2048)
log.item(b"[1,2]", 6)
"""


@pytest.fixture(scope="module")
def token(shared_daemon):
    made = shared_daemon.cli("submit", "--", sys.executable, "-c", CODE).stdout.strip()
    assert shared_daemon.cli("wait", "-q", made).returncode == 0
    return made


def items(daemon, *arguments):
    result = daemon.cli("items", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def without_times(text):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "TIME", text)


def test_items_are_counted_by_stage_and_in_all(shared_daemon, token):
    assert items(shared_daemon, token) == (
        "–\t0\t0\t0\t0\t0\t1\nread\t0\t0\t0\t1\t0\t0\nrender\t0\t0\t1,200\t0\t0\t0\nall\t0\t0\t1,200\t1\t0\t1\n"
    )
    counted = json.loads(items(shared_daemon, token, "--json"))
    assert counted["total"] == {"queued": 0, "inProgress": 0, "completed": 1200, "failed": 1, "retrying": 0, "skipped": 1}
    assert [each["stage"] for each in counted["stages"]] == ["", "read", "render"] and counted["eventCount"] == 1205


def test_items_are_listed_by_status_and_stage(shared_daemon, token):
    failed = "a.pdf\tfailed\tread\t2\t2.00 KiB\tTIME\tgave up\n"
    assert without_times(items(shared_daemon, token, "--failed")) == failed
    assert without_times(items(shared_daemon, token, "--stage", "read")) == failed
    assert without_times(items(shared_daemon, token, "-s", "skipped")) == "[1, 2]\tskipped\t–\t1\t–\tTIME\t\n"
    assert len(items(shared_daemon, token, "-s", "completed").splitlines()) == 100
    assert len(items(shared_daemon, token, "-s", "completed", "-n", "0").splitlines()) == 1200
    listed = json.loads(items(shared_daemon, token, "--all", "-n", "0", "--json"))
    assert len(listed) == 1202 and [1, 2] in [each["itemId"] for each in listed]


def test_what_happened_to_one_item_is_shown(shared_daemon, token):
    assert without_times(items(shared_daemon, token, "a.pdf")) == (
        "TIME\t0\tread\tin_progress by w1\n"
        "TIME\t0\tread\topen start by w1\n"
        "TIME\t0\tread\topen fail after 420 ms by w1: no such page\n"
        "TIME\t0\tread\tfailed: gave up\n"
    )
    one = json.loads(items(shared_daemon, token, "[1,2]", "--json"))
    assert (one["item"]["itemId"], one["item"]["status"], len(one["events"]), one["forgottenCount"]) == ([1, 2], 6, 1, 0)
    assert len(items(shared_daemon, token, "7").splitlines()) == 1


def test_what_is_not_there_or_cannot_be_asked_is_said(shared_daemon, token):
    missing = shared_daemon.cli("items", token, "b.pdf")
    assert (missing.returncode, "no item of this name" in missing.stderr) == (3, True)
    wrong = shared_daemon.cli("items", token, "-s", "lost")
    assert (wrong.returncode, "queued in_progress completed" in wrong.stderr) == (2, True)
    assert shared_daemon.cli("items", token, "a.pdf", "--failed").returncode == 2
