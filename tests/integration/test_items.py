"""What the work reports by its item log: events, states, counts, histories, messages; all of it before the end is known."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import Any

import pytest

from taskmeter.v1 import event_pb2, item_pb2, task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, failure_of, start, start_python, status_of
from tests.waiting import wait_until

DONE, FAILED, BUSY = item_pb2.ITEM_STATUS_COMPLETED, item_pb2.ITEM_STATUS_FAILED, item_pb2.ITEM_STATUS_IN_PROGRESS

BEGIN = """
import os, sys, time
from metercore.itemlog import ItemLog
log = ItemLog(os.environ["TASKMETER_TASK_DIR"] + "/items")
def until(name):
    while not os.path.exists(os.environ["TASKMETER_TASK_DIR"] + "/work/" + name):
        time.sleep(0.01)
"""


def report(calls: Calls, code: str, **spec: Any) -> str:
    return start_python(calls, BEGIN + textwrap.dedent(code), **spec)


def let_go(daemon: Daemon, token: str, name: str = "go", attempt: int = 0) -> None:
    [directory] = daemon.state_dir.glob(f"tasks/*/{token}/{attempt}/task/work")
    (directory / name).touch()


def reported(calls: Calls, token: str, *kinds: int) -> list[event_pb2.Event]:
    return events(calls, token, kinds=kinds or (2, 3, 4))


def test_events_states_counts_and_history_are_those_of_the_work(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(
        calls,
        """
        for i in range(10):
            log.item(i, 1, stage="read", size=10 + i)
        for i in range(10):
            log.item(i, 2, stage="read", worker="w1")
            log.step(i, "open", 1, stage="read")
            log.step(i, "open", 2, stage="read", duration_seconds=0.5)
            log.item(i, 4 if i == 3 else 3, stage="write", error="no" if i == 3 else "", metadata={"k": "v"})
        log.item("text", 6)
        log.item(b"[1,null]", 5, error="again")
        """,
        tags={"colour": "red"},
    )
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
    stats = calls.GetItemStats(token=token)
    assert stats.total == calls.GetItemStats(token=token).total
    total = stats.total
    assert (total.completed, total.failed, total.skipped, total.retrying, total.queued, total.in_progress) == (9, 1, 1, 1, 0, 0)
    assert {each.stage: each.counts.completed for each in stats.stages} == {"": 0, "write": 9}
    assert stats.event_count == 52
    item = calls.GetItem(token=token, item_id={"number": 3}).item
    assert (item.status, item.stage, item.error, item.size, dict(item.metadata)) == (FAILED, "write", "no", 13, {"k": "v"})
    assert item.event_count == 5
    history = calls.GetItemHistory(token=token, item_id={"number": 3}).events
    assert [each.item_changed.status or each.step.type for each in history] == [1, 2, 1, 2, 4]
    assert history[3].step.duration_seconds == 0.5 and dict(history[0].tags) == {"colour": "red"}
    assert [each.item_id.number for each in calls.ListItems(token=token, statuses=[FAILED]).items] == [3]
    assert calls.GetItem(token=token, item_id={"json": "[1,null]"}).item.error == "again"
    found = reported(calls, token)
    assert len(found) == 52 and [event.seq for event in found] == sorted({event.seq for event in found})
    assert Counter(event.WhichOneof("payload") for event in found) == {"item_changed": 32, "step": 20}
    assert found[0].item_changed.size == 10 and found[0].token == token and found[0].time > 1e9


def test_items_are_seen_while_the_work_runs(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(calls, "log.item('a', 2)\nuntil('go')\nlog.item('a', 3)\nuntil('end')")
    wait_until(lambda: calls.GetItemStats(token=token).total.in_progress == 1, "the item is seen")
    assert status_of(calls, token).state == task_pb2.TASK_STATE_RUNNING
    let_go(shared_daemon, token)
    wait_until(lambda: calls.GetItem(token=token, item_id={"text": "a"}).item.status == DONE, "its change is seen")
    let_go(shared_daemon, token, "end")
    end_of(calls, token)


def test_all_that_was_reported_comes_before_the_end(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(calls, "for i in range(20000): log.item(i, 3)\nos.kill(os.getpid(), 9)")
    last = events(calls, token, kinds=(1, 2))
    numbers = [event.item_changed.item_id.number for event in last if event.HasField("item_changed")]
    assert numbers == list(range(20_000))
    assert last[-1].state_changed.to_state == task_pb2.TASK_STATE_COMPLETED
    assert last[-1].state_changed.outcome == task_pb2.TASK_OUTCOME_SIGNALED


def test_processes_of_one_task_keep_their_own_order(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(
        calls,
        """
        children = []
        for number in range(4):
            child = os.fork()
            if not child:
                for i in range(3000):
                    log.item(f"{number}", 2, attempt=i)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        """,
    )
    found: dict[str, list[int]] = {}
    for event in reported(calls, token):
        found.setdefault(event.item_changed.item_id.text, []).append(event.item_changed.attempt)
    assert found == {str(number): list(range(3000)) for number in range(4)}
    assert calls.GetItemHistory(token=token, item_id={"text": "2"}).forgotten_count == 2000


def test_a_restart_of_the_daemon_loses_and_repeats_nothing(daemon: Daemon) -> None:
    token = report(daemon.calls, "for i in range(500): log.item(i, 3)\nuntil('go')\nfor i in range(500, 900): log.item(i, 3)")
    wait_until(lambda: daemon.calls.GetItemStats(token=token).total.completed == 500, "the first ones are seen")
    daemon.kill9()
    let_go(daemon, token)
    daemon.start()
    end_of(daemon.calls, token)
    assert [event.item_changed.item_id.number for event in reported(daemon.calls, token)] == list(range(900))
    assert daemon.calls.GetItemStats(token=token).event_count == 900


def test_what_ended_without_a_daemon_is_read_by_the_next_one_before_the_end(daemon: Daemon) -> None:
    token = report(daemon.calls, "until('go')\nfor i in range(300): log.item(i, 3)")
    wait_until(lambda: status_of(daemon.calls, token).state == task_pb2.TASK_STATE_RUNNING, "it runs")
    wait_until(lambda: list(daemon.state_dir.glob(f"tasks/*/{token}/0/task/work")), "its directory is there")
    daemon.kill9()
    let_go(daemon, token)
    wait_until(lambda: list(daemon.state_dir.glob(f"tasks/*/{token}/0/gone")), "its processes are gone")
    daemon.start()
    end_of(daemon.calls, token)
    found = events(daemon.calls, token, kinds=(1, 2))
    assert [event.item_changed.item_id.number for event in found if event.HasField("item_changed")] == list(range(300))
    assert found[-1].HasField("state_changed")


def test_messages_are_in_the_status_and_in_the_log(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(
        calls,
        """
        for i in range(60):
            log.message(3, f"error {i}")
        log.message(2, "warning")
        log.message(4, "line one")
        log.message(1, "note")
        until('go')
        log.message(4, "line two")
        """,
    )
    wait_until(lambda: status_of(calls, token).warning_count == 1, "messages are in the status")
    status = status_of(calls, token)
    assert (status.error_count, len(status.errors), status.errors[-1], list(status.warnings)) == (60, 50, "error 59", ["warning"])
    let_go(shared_daemon, token)
    ended = end_of(calls, token)
    assert (ended.error_count, ended.errors[0]) == (60, "error 10")
    logs = calls.GetTaskRecord(token=token).record.logs
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ", "", line) for line in logs] == ["line one", "line two"]
    listed = next(each for each in calls.ListTasks(page_size=1000).tasks if each.token == token)
    assert (listed.error_count, list(listed.errors)) == (60, [])
    last = events(calls, token, kinds=(1,))[-1]
    assert last.state_changed.status.error_count == 60 and last.state_changed.status.errors[-1] == "error 59"


def test_messages_survive_the_daemon_and_errors_belong_to_their_attempt(daemon: Daemon) -> None:
    calls = daemon.calls
    token = report(
        calls,
        """
        attempt = int(os.environ["TASKMETER_ATTEMPT"])
        log.message(4, f"attempt {attempt}")
        if not attempt:
            log.message(3, "first")
            sys.exit(1)
        until('go')
        log.message(3, "second")
        until('end')
        """,
        retry={"max_retries": 1},
    )
    calls.WaitTask(token=token, states=[task_pb2.TASK_STATE_RUNNING], timeout_seconds=20)
    wait_until(lambda: status_of(calls, token).attempt == 1 and status_of(calls, token).state == 3, "the second attempt runs")
    assert status_of(calls, token).error_count == 0
    wait_until(lambda: list(daemon.state_dir.glob(f"tasks/*/{token}/1/task/work")), "its directory is there")
    let_go(daemon, token, attempt=1)
    wait_until(lambda: list(status_of(daemon.calls, token).errors) == ["second"], "its error is seen")
    daemon.restart()
    assert list(status_of(daemon.calls, token).errors) == ["second"]
    let_go(daemon, token, "end", attempt=1)
    assert list(end_of(daemon.calls, token).errors) == ["second"]
    assert [line.partition(" ")[2] for line in daemon.calls.GetTaskRecord(token=token).record.logs] == [
        "attempt 0",
        "Retry 1 ---",
        "attempt 1",
    ]


def test_pages_of_items_and_of_a_history_come_to_an_end(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(calls, "for i in range(230): log.item(i, 3 if i % 2 else 4)\nfor i in range(130): log.item('x', 2)")
    end_of(calls, token)
    for fields, wanted in (({}, 231), ({"statuses": [DONE]}, 115), ({"statuses": [DONE, FAILED]}, 230), ({"stage": "none"}, 0)):
        found, page_token = [], ""
        while True:
            page = calls.ListItems(token=token, page_size=50, page_token=page_token, **fields)
            found += [str(item.item_id) for item in page.items]
            page_token = page.next_page_token
            if not page_token:
                break
        assert len(found) == len(set(found)) == wanted
    first = calls.GetItemHistory(token=token, item_id={"text": "x"}, page_size=100)
    second = calls.GetItemHistory(token=token, item_id={"text": "x"}, page_size=100, page_token=first.next_page_token)
    assert (len(first.events), len(second.events), second.next_page_token) == (100, 30, "")


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("GetItem", {}, "item_id"),
        ("GetItem", {"item_id": {"text": "x" * 1025}}, "item_id"),
        ("GetItemHistory", {"item_id": {"text": "x"}, "page_size": 1001}, "page_size"),
        ("GetItemHistory", {"item_id": {"text": "x"}, "page_token": "-1"}, "page_token"),
        ("GetItemHistory", {"item_id": {"text": "x"}, "page_token": "٣"}, "page_token"),
        ("ListItems", {"statuses": [0]}, "statuses[0]"),
        ("ListItems", {"statuses": [99]}, "statuses[0]"),
        ("ListItems", {"page_size": -1}, "page_size"),
        ("ListItems", {"page_token": "nonsense"}, "page_token"),
        ("ListItems", {"page_token": "WzksICIiXQ=="}, "page_token"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_field(shared_daemon: Daemon, name: str, fields: dict[str, Any], field: str) -> None:
    token = start(shared_daemon.calls, "true")
    failure = failure_of(getattr(shared_daemon.calls, name), token=token, **fields)
    assert failure.reason == "FIELD_INVALID" and field in failure.fields


def test_an_item_that_is_not_there_is_told_from_a_task_that_is_not_there(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "true")
    for name in ("GetItem", "GetItemHistory"):
        assert failure_of(getattr(calls, name), token=token, item_id={"text": "x"}).reason == "ITEM_NOT_FOUND"
        assert failure_of(getattr(calls, name), token="tk_" + "0" * 22, item_id={"text": "x"}).reason == "TASK_NOT_FOUND"
    assert calls.GetItemStats(token=token).total == type(calls.GetItemStats(token=token).total)()
    assert not calls.ListItems(token=token).items


def test_items_go_with_their_task(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(calls, "log.item('a', 3)")
    end_of(calls, token)
    calls.DeleteTask(token=token)
    assert failure_of(calls.GetItem, token=token, item_id={"text": "a"}).reason == "TASK_NOT_FOUND"


def test_segments_that_were_read_are_removed(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = report(calls, "for i in range(60000): log.item(i, 3, metadata={'k': 'v' * 100})\nuntil('go')")
    wait_until(lambda: calls.GetItemStats(token=token).event_count == 60_000, "all are read", seconds=30)
    [directory] = shared_daemon.state_dir.glob(f"tasks/*/{token}/0/task/items")
    wait_until(lambda: len(list(directory.iterdir())) <= 1, "only the newest segment is left")
    let_go(shared_daemon, token)
    end_of(calls, token)
    assert not list(directory.iterdir())


@pytest.mark.parametrize("made", ["link", "file", "pipe"])
def test_an_item_log_that_is_none_harms_nobody(shared_daemon: Daemon, made: str) -> None:
    calls = shared_daemon.calls
    make = {"link": "os.symlink('/etc', path)", "file": "open(path, 'w')", "pipe": "os.mkfifo(path)"}[made]
    token = start_python(calls, f"import os; path = os.environ['TASKMETER_TASK_DIR'] + '/items'; {make}")
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED


def test_an_item_is_a_sign_of_work(shared_daemon: Daemon) -> None:
    code = "\nfor i in range(25):\n    log.item(i, 3)\n    time.sleep(0.1)\ntime.sleep(60)"
    token = report(shared_daemon.calls, code, idle_ttl_seconds=1.0, grace_period_seconds=0)
    ended = end_of(shared_daemon.calls, token)
    assert ended.outcome == task_pb2.TASK_OUTCOME_IDLE_EXPIRED
    assert shared_daemon.calls.GetItemStats(token=token).event_count == 25
