"""The tracker in one process: what it knows, and how callbacks are told."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from taskmeter.work import StatusEvent, StatusTracker, TaskEvent
from tests.unit.work.inside import events, run
from tests.waiting import wait_until

IDS = [1, True, 1.5, "1", None, [1, 2], {"b": [], "a": 1}, (1, 2, 3), 2**80, object(), frozenset({1})]


def statuses(tracker: StatusTracker, item_id: Any) -> list[str]:
    return [event.status for event in tracker.get_history(item_id)]


def test_items_of_any_kind_of_id_are_told_apart() -> None:
    tracker = StatusTracker()
    for item_id in IDS:
        tracker.change(item_id, "queued")
    assert tracker.get_tracked_ids() == IDS
    assert tracker.get_stats()["queued"] == len(IDS)
    tracker.change({"a": 1, "b": []}, "completed")
    assert statuses(tracker, {"b": [], "a": 1}) == ["queued", "completed"]
    assert statuses(tracker, 1) == ["queued"]


def test_a_status_or_a_kind_of_event_that_there_is_not_is_refused() -> None:
    tracker = StatusTracker()
    with pytest.raises(ValueError, match="queued"):
        tracker.change("a", "done")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="complete"):
        tracker.step("a", "t", "done")  # type: ignore[arg-type]
    assert tracker.get_tracked_ids() == []


def test_memory_is_bounded_and_the_counts_stay_true() -> None:
    tracker = StatusTracker(max_items=100, max_history=3)
    tracker.change("alive", "in_progress")
    for n in range(1000):
        tracker.change(n, "queued")
        tracker.change(n, "failed" if n % 10 == 0 else "completed", error="e")
    assert len(tracker.get_tracked_ids()) == 100
    assert tracker.get_stats() == {"queued": 0, "in_progress": 1, "completed": 900, "failed": 100, "retrying": 0, "skipped": 0}
    assert tracker.get_status("alive") is not None
    assert tracker.get_status(1) is None
    assert tracker.get_history(1) == []
    for _ in range(10):
        tracker.change("alive", "retrying")
    assert statuses(tracker, "alive") == ["retrying"] * 3
    tracker.change("alive", "failed")
    assert [item.attempts for item in tracker.get_failed_items() if item.item_id == "alive"] == [11]


def test_callbacks_see_every_event_once_and_in_order() -> None:
    seen: list[tuple[Any, str]] = []
    tracker = StatusTracker(on_status_change=lambda event: seen.append((event.item_id, event.status)))
    for n in range(2000):
        tracker.change(n % 7, "in_progress")
        tracker.change(n % 7, "completed")
    assert tracker.flush(30)
    assert seen == [(n % 7, status) for n in range(2000) for status in ("in_progress", "completed")]


def test_order_per_item_holds_for_many_threads_and_over_kinds_of_callbacks() -> None:
    seen: list[tuple[Any, Any]] = []

    async def on_task(event: TaskEvent) -> None:
        await asyncio.sleep(0)
        seen.append((event.item_id, event.attempt))

    tracker = StatusTracker(
        on_status_change=lambda event: seen.append((event.item_id, event.metadata["n"])),
        on_task_start=on_task,
        on_task_fail=on_task,
    )

    def work(item_id: int) -> None:
        for n in range(0, 300, 3):
            tracker.change(item_id, "in_progress", metadata={"n": n})
            tracker.step(item_id, "t", "start", attempt=n + 1)
            tracker.step(item_id, "t", "fail", attempt=n + 2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.flush(30)
    for number in range(8):
        assert [n for item_id, n in seen if item_id == number] == list(range(300))


async def test_async_callbacks_run_on_the_loop_of_the_work() -> None:
    seen: list[tuple[str, bool, int]] = []
    here, thread = asyncio.get_running_loop(), threading.get_ident()

    async def on_change(event: StatusEvent) -> None:
        await asyncio.sleep(0)
        seen.append((event.status, asyncio.get_running_loop() is here, threading.get_ident() - thread))

    tracker = StatusTracker(on_status_change=on_change)
    for status in ("queued", "in_progress", "completed"):
        tracker.change("a", status)
    await tracker.drain()
    assert seen == [(status, True, 0) for status in ("queued", "in_progress", "completed")]


async def test_plain_callbacks_that_block_do_not_hold_the_loop() -> None:
    go = threading.Event()
    seen: list[bool] = []
    tracker = StatusTracker(on_status_change=lambda _: seen.append(go.wait(30)))
    tracker.change("a", "queued")
    await asyncio.sleep(0)  # the loop lives
    assert seen == []
    go.set()
    await tracker.drain()
    assert seen == [True]


async def test_to_block_the_loop_for_callbacks_is_refused() -> None:
    with pytest.raises(RuntimeError, match="drain"):
        StatusTracker().flush()


def test_events_of_a_loop_that_has_ended_are_delivered_all_the_same() -> None:
    seen: list[int] = []

    async def on_change(event: StatusEvent) -> None:
        await asyncio.sleep(0.001)
        seen.append(event.item_id)

    tracker = StatusTracker(on_status_change=on_change)

    async def main() -> None:
        for n in range(200):
            tracker.change(n, "queued")
        await asyncio.sleep(0.005)

    asyncio.run(main())
    assert tracker.flush(30)
    assert len(seen) >= 199, "the one that was cancelled with its loop is not begun again"
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_callback_that_raises_is_reported_and_stops_nothing(
    kind: type[BaseException], is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def fail(event: StatusEvent) -> None:
        seen.append(event.status)
        raise kind("mine")

    async def fail_async(event: StatusEvent) -> None:
        fail(event)

    tracker = StatusTracker(on_status_change=fail_async if is_async else fail, on_task_start=lambda event: seen.append("start"))
    for status in ("queued", "completed"):
        tracker.change("a", status)
        tracker.step("a", "t", "start")
    assert tracker.flush(30)
    assert seen == ["queued", "start", "completed", "start"]
    if not (is_async and kind is asyncio.CancelledError):  # it has cancelled itself
        assert tracker.observers.error_count == 2
        assert [record.name for record in caplog.records] == ["taskmeter.tracker"] * 2
        assert "fail" in caplog.text and "mine" in caplog.text


def test_a_callback_that_is_slower_than_the_work_costs_bounded_memory() -> None:
    go = threading.Event()
    seen: list[int] = []

    def on_change(event: StatusEvent) -> None:
        go.wait(30)
        seen.append(event.item_id)

    tracker = StatusTracker(on_status_change=on_change)
    tracker.observers.most_waiting = 10
    for n in range(1000):
        tracker.change(n, "queued")
    go.set()
    assert tracker.flush(30)
    assert tracker.observers.dropped_count + len(seen) == 1000
    assert seen == sorted(seen) and seen[:10] == list(range(10))
    assert tracker.get_stats()["queued"] == 1000


def test_callbacks_may_be_attributes_and_methods_of_a_subclass() -> None:
    seen: list[Any] = []

    class Mine(StatusTracker):
        def on_status_change(self, event: StatusEvent) -> None:
            seen.append(event.status)

        async def on_task_complete(self, event: TaskEvent) -> None:
            seen.append(event.task_name)

    tracker = Mine()
    tracker.on_task_retry = lambda event: seen.append(event.attempt)
    tracker.change("a", "queued")
    tracker.step("a", "t", "complete")
    tracker.step("a", "t", "retry", attempt=3)
    assert tracker.flush(30)
    assert seen == ["queued", "t", 3]


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, event: StatusEvent) -> None:
        self.seen.append(event.item_id)


def test_any_callable_will_do() -> None:
    callback = Unhashable()
    tracker = StatusTracker(on_status_change=callback)
    for n in range(3):
        tracker.change(n, "queued")
    assert tracker.flush(30)
    assert callback.seen == [0, 1, 2]


def test_a_callback_may_use_the_tracker() -> None:
    def on_change(event: StatusEvent) -> None:
        if event.status == "failed":
            tracker.change(event.item_id, "queued")

    tracker = StatusTracker(on_status_change=on_change)
    tracker.change("a", "failed")
    assert tracker.flush(30)
    assert tracker.flush(30)
    assert statuses(tracker, "a") == ["failed", "queued"]


def test_the_thread_ends_when_nothing_happens_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmeter.work.observers.IDLE_SECONDS", 0.01)
    seen: list[str] = []
    tracker = StatusTracker(on_status_change=lambda event: seen.append(event.status))
    for n in range(1, 4):
        tracker.change("a", "queued")
        wait_until(lambda n=n: len(seen) == n and tracker.observers._thread is None, "its end")  # type: ignore[misc]


def test_after_a_fork_the_child_tells_callbacks_of_its_own_events(tmp_path: Path) -> None:
    code = """
import os, taskmeter
seen = []
tracker = taskmeter.StatusTracker(on_status_change=lambda event: seen.append(event.item_id))
tracker.change("parent", "queued")
pid = os.fork()
tracker.change("child" if pid == 0 else "parent again", "queued")
assert tracker.flush(30)
if pid == 0: os._exit(0 if seen[-1:] == ["child"] and "parent again" not in seen else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(seen)
"""
    assert run(code, tmp_path) == "['parent', 'parent again']"
    assert sorted(event.item_changed.item_id.text for event in events(tmp_path)) == ["child", "parent", "parent again"]


def test_callbacks_see_all_events_before_the_process_ends(tmp_path: Path) -> None:
    code = """
import taskmeter
tracker = taskmeter.StatusTracker(on_status_change=lambda event: print(event.item_id))
for n in range(500): tracker.change(n, "queued")
"""
    assert run(code).split() == [str(n) for n in range(500)]


def test_inside_a_task_every_event_is_in_the_item_log(tmp_path: Path) -> None:
    code = """
import taskmeter
seen = []
tracker = taskmeter.StatusTracker(on_status_change=lambda event: seen.append(event.item_id))
tracker.change({"k": [1]}, "queued", stage="s", metadata={"n": 1})
tracker.change({"k": [1]}, "retrying", stage="s", worker="s-W1", error=ValueError("x"), metadata={"attempt": 2})
tracker.change({"k": [1]}, "in_progress", stage="s")
tracker.step({"k": [1]}, "parse", "fail", stage="s", worker="s-W1", attempt=2, error=ValueError("y"), duration=0.5)
tracker.change(object, "queued")
tracker.change("x" * 2000, "queued")
assert tracker.flush(30) and seen == [{"k": [1]}] * 3 + [object, "x" * 2000]
"""
    run(code, tmp_path)
    found = events(tmp_path)
    queued, retrying, started = (event.item_changed for event in found[:3])
    assert (queued.item_id.json, queued.status, queued.stage, dict(queued.metadata)) == ('{"k":[1]}', 1, "s", {"n": "1"})
    assert (retrying.status, retrying.attempt, retrying.error, retrying.worker) == (5, 0, "ValueError: x", "s-W1")
    assert dict(retrying.metadata) == {"attempt": "2", "error": "x", "error_type": "ValueError"}
    assert (started.status, started.attempt) == (2, 1)
    step = found[3].step
    assert (step.step, step.type, step.stage, step.attempt, step.error, step.worker) == (
        "parse",
        4,
        "s",
        1,
        "ValueError: y",
        "s-W1",
    )
    assert step.duration_seconds == 0.5
    assert found[4].item_changed.item_id.text == "<class 'object'>"
    assert found[5].message.level == 2 and found[5].message.text.startswith("not logged: the item 'xxx")


def test_the_word_for_nothing_failed(tmp_path: Path) -> None:
    assert str(StatusTracker().get_error_summary()) == "No errors occurred"


def test_a_signal_handler_may_report_in_the_middle_of_an_event() -> None:
    tracker = StatusTracker()
    with tracker._lock:
        tracker.change("a", "queued")
    assert tracker.get_stats()["queued"] == 1
