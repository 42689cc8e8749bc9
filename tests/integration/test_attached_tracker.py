"""A tracker of a task that runs elsewhere: told in order and live, asked over the wire, by clients of both kinds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from taskmeter import Client, StatusEvent, StatusTracker, SyncClient, TaskEvent
from taskmeter.errors import NotFoundError
from tests.daemon import Daemon
from tests.waiting import wait_until

WORK = """
import os, taskmeter
tracker = taskmeter.StatusTracker()
def until(name):
    while not os.path.exists(name): taskmeter.current()
for item_id in ("a", 2, [3, {"x": None}]):
    tracker.change(item_id, "queued", stage="fetch")
    tracker.change(item_id, "in_progress", stage="fetch", worker="fetch-W1")
    tracker.step(item_id, "get", "start", stage="fetch", worker="fetch-W1")
tracker.change(2, "retrying", stage="fetch", error=OSError("busy"), metadata={"attempt": 2})
tracker.change(2, "in_progress", stage="fetch")
tracker.step(2, "get", "fail", stage="fetch", attempt=2, error=ValueError("bad"), duration=0.5)
tracker.change(2, "failed", stage="fetch", error=ValueError("bad"))
until("go")
tracker.change("a", "completed", stage="fetch")
"""
WORDS = ["queued", "in_progress", "completed", "failed", "retrying", "skipped"]


@pytest.fixture(scope="module")
def client(shared_daemon: Daemon) -> Iterator[SyncClient]:
    with SyncClient(state_dir=str(shared_daemon.state_dir)) as connected:
        yield connected


def start(client: SyncClient, directory: Any, code: str = WORK) -> str:
    return client.start([sys.executable, "-c", code], working_directory=str(directory)).token


def test_callbacks_are_told_what_was_and_then_what_is(client: SyncClient, tmp_path: Any) -> None:
    seen: list[tuple[Any, str]] = []
    tasks: list[TaskEvent] = []
    token = start(client, tmp_path)

    def on_change(event: StatusEvent) -> None:
        seen.append((event.item_id, event.status))

    tracker = StatusTracker.attach(client, token, on_change, on_task_start=tasks.append, on_task_fail=tasks.append)
    wait_until(lambda: (2, "failed") in seen, "what was")
    assert ("a", "completed") not in seen
    (tmp_path / "go").touch()
    assert tracker.wait(30)
    other = [3, {"x": None}]
    assert [status for item_id, status in seen if item_id == "a"] == ["queued", "in_progress", "completed"]
    assert [status for item_id, status in seen if item_id == other] == ["queued", "in_progress"]
    assert [status for item_id, status in seen if item_id == 2] == ["queued", "in_progress", "retrying", "in_progress", "failed"]
    assert [(event.item_id, event.event_type) for event in tasks] == [("a", "start"), (2, "start"), (other, "start"), (2, "fail")]
    assert (tasks[3].attempt, str(tasks[3].error), tasks[3].duration, tasks[3].task_name) == (2, "ValueError: bad", 0.5, "get")


def test_queries_are_answered_by_the_daemon_also_after_the_end(client: SyncClient, tmp_path: Any) -> None:
    token = start(client, tmp_path)
    (tmp_path / "go").touch()
    client.wait_task(token)
    tracker = StatusTracker.attach(client, token)
    found = tracker.get_status("a")
    assert (found.item_id, found.stage, found.status, found.worker, found.metadata) == ("a", "fetch", "completed", None, {})
    assert tracker.get_status("nobody") is None
    assert tracker.get_stats() == dict.fromkeys(WORDS, 0) | {"completed": 1, "failed": 1, "in_progress": 1}
    assert [event.item_id for event in tracker.get_by_status("in_progress")] == [[3, {"x": None}]]
    assert [event.status for event in tracker.get_history(2)] == ["queued", "in_progress", "retrying", "in_progress", "failed"]
    assert tracker.get_history(2)[2].metadata == {"attempt": 2, "error": "busy", "error_type": "OSError"}
    assert tracker.get_history("nobody") == []
    assert sorted(map(str, tracker.get_tracked_ids())) == ["2", "[3, {'x': None}]", "a"]
    [failed] = tracker.get_failed_items()
    assert (failed.item_id, failed.error, failed.error_type, failed.stage, failed.attempts) == (
        2,
        "bad",
        "ValueError",
        "fetch",
        2,
    )
    assert tracker.get_error_summary().errors_by_type == {"ValueError": 1}


async def test_an_async_client_s_tracker_is_awaited(shared_daemon: Daemon, tmp_path: Any) -> None:
    seen: list[str] = []

    async def on_change(event: StatusEvent) -> None:
        seen.append(event.status)

    async with Client(state_dir=str(shared_daemon.state_dir)) as client:
        token = (await client.start([sys.executable, "-c", WORK], working_directory=str(tmp_path))).token
        tracker = StatusTracker.attach(client, token, on_change)
        (tmp_path / "go").touch()
        await tracker.wait()
        assert len(seen) == 10 and seen[-1] == "completed"
        assert (await tracker.get_status("a")).status == "completed"
        assert await tracker.get_status("nobody") is None
        assert (await tracker.get_stats())["failed"] == 1
        assert [event.item_id for event in await tracker.get_by_status("failed")] == [2]
        assert len(await tracker.get_history(2)) == 5
        assert await tracker.get_history("nobody") == []
        assert len(await tracker.get_tracked_ids()) == 3
        assert (await tracker.get_error_summary()).total_failed == 1
        tracker.close()


def test_a_subclass_is_told_with_its_own_methods(client: SyncClient, tmp_path: Any) -> None:
    seen: list[str] = []

    class Mine(StatusTracker):
        async def on_status_change(self, event: StatusEvent) -> None:
            seen.append(event.status)

    (tmp_path / "go").touch()
    assert Mine.attach(client, start(client, tmp_path)).wait(30)
    assert len(seen) == 10


def test_a_slow_observer_slows_nobody_and_a_raising_one_stops_nothing(
    client: SyncClient, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def fail(event: StatusEvent) -> None:
        seen.append(event.status)
        raise ValueError("in the observer")

    (tmp_path / "go").touch()
    token = start(client, tmp_path)
    assert StatusTracker.attach(client, token, fail).wait(30)
    assert len(seen) == 10
    assert caplog.text.count("ValueError: in the observer") == 10
    assert client.get_task_status(token).exit_code == 0


def test_a_task_that_is_not_there_is_an_error_and_not_an_empty_one(client: SyncClient, caplog: pytest.LogCaptureFixture) -> None:
    tracker = StatusTracker.attach(client, "tk_0123456789abcdefghijkl")
    with pytest.raises(NotFoundError):
        tracker.wait(30)
    with pytest.raises(NotFoundError):
        tracker.get_status("a")
    with pytest.raises(NotFoundError):
        tracker.get_history("a")
    assert "are lost" in caplog.text


def test_a_tracker_that_is_closed_is_told_nothing_and_still_answers(client: SyncClient, tmp_path: Any) -> None:
    seen: list[Any] = []
    token = start(client, tmp_path)
    tracker = StatusTracker.attach(client, token, seen.append)
    wait_until(lambda: len(seen) == 9, "what was")
    tracker.close()
    (tmp_path / "go").touch()
    client.wait_task(token)
    assert tracker.wait(30)
    assert len(seen) == 9
    assert tracker.get_status("a").status == "completed"
    assert os.path.exists(tmp_path / "go")
