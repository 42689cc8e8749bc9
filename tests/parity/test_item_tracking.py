"""AntFlow's tracker, row by row: the same constructor, callbacks, events and queries; and what it got wrong.

There, callbacks were awaited inside the workers and came out of order, one that raised ran a task again, a plain one failed every
item, queries looked through everything, and what was known was unbounded in memory and died with the process.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, get_args

import pytest

import taskmeter
from taskmeter import StatusEvent, StatusTracker, TaskEvent
from taskmeter.v1 import event_pb2, task_pb2
from taskmeter.work.tracking import Status
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, start_python
from tests.waiting import wait_until

CALLBACKS = ["on_status_change", "on_task_start", "on_task_complete", "on_task_retry", "on_task_fail"]
WORDS = ["queued", "in_progress", "completed", "failed", "retrying", "skipped"]


def filled() -> StatusTracker:
    """Return a tracker of four items."""
    tracker = StatusTracker()
    tracker.change("a", "queued", stage="fetch")
    tracker.change("a", "in_progress", stage="fetch", worker="fetch-W3")
    tracker.change("a", "completed", stage="fetch", worker="fetch-W3")
    for item_id in (2, ("c", 3)):
        tracker.change(item_id, "queued", stage="fetch")
        tracker.change(item_id, "in_progress", stage="fetch")
        tracker.change(item_id, "retrying", stage="fetch", error=OSError("busy"), metadata={"attempt": 2})
        tracker.change(item_id, "in_progress", stage="fetch")
        tracker.change(item_id, "failed", stage="fetch", error=ValueError("bad"))
    tracker.change("d", "skipped", stage="fetch")
    return tracker


# -------------------------------------------------------------------------------------------------- tracker, callbacks


def test_the_constructor_has_the_same_five_callbacks_in_the_same_order() -> None:
    parameters = list(inspect.signature(StatusTracker).parameters.values())
    assert [each.name for each in parameters[:5]] == CALLBACKS
    assert all(each.default is None for each in parameters[:5])
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters[5:])
    assert taskmeter.StatusTracker is StatusTracker


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "plain"])
def test_callbacks_async_or_plain_are_told_what_their_names_say(is_async: bool) -> None:
    seen: list[tuple[str, str]] = []

    def watch(name: str) -> Any:
        def plain(event: Any) -> None:
            seen.append((name, event.status if isinstance(event, StatusEvent) else event.event_type))

        async def asynchronous(event: Any) -> None:
            await asyncio.sleep(0)
            plain(event)

        return asynchronous if is_async else plain

    tracker = StatusTracker(*map(watch, CALLBACKS))
    tracker.change("a", "in_progress")
    for kind in ("start", "complete", "retry", "fail"):
        tracker.step("a", "parse", kind)
    assert tracker.flush(30)
    assert seen == [("on_status_change", "in_progress")] + [
        (f"on_task_{kind}", kind) for kind in ("start", "complete", "retry", "fail")
    ]


def test_a_subclass_is_told_too() -> None:
    seen: list[str] = []

    class Mine(StatusTracker):
        async def on_status_change(self, event: StatusEvent) -> None:
            seen.append(event.status)

    tracker = Mine()
    tracker.change("a", "queued")
    assert tracker.flush(30)
    assert seen == ["queued"]


def test_a_pipeline_that_knows_antflow_s_tracker_can_drive_ours() -> None:
    seen: list[str] = []

    async def on_status_change(event: StatusEvent) -> None:
        seen.append(event.status)

    async def pipeline(tracker: Any) -> None:
        await tracker._emit(StatusEvent("a", "s", "queued", None, time.time(), {}))
        await tracker._emit_task_event(TaskEvent("a", "s", "t", "w", "start", 1, time.time()))
        await tracker.drain()

    tracker = StatusTracker(on_status_change)
    asyncio.run(pipeline(tracker))
    assert seen == ["queued"]
    assert tracker.get_stats()["queued"] == 1


# --------------------------------------------------------------------------------------------------------------- events


def test_a_status_event_has_the_same_attributes_and_the_statuses_are_the_same_words() -> None:
    assert list(get_args(Status)) == WORDS
    assert list(StatusTracker().get_stats()) == WORDS
    before = time.time()
    event = StatusTracker().change("a", "in_progress", stage="fetch", worker="fetch-W3", metadata={"k": 1})
    assert (event.item_id, event.stage, event.status, event.worker, event.metadata) == (
        "a", "fetch", "in_progress", "fetch-W3", {"k": 1},
    )  # fmt: skip
    assert before <= event.timestamp <= time.time()
    assert (event.worker_id, StatusEvent("a", None, "queued").worker_id) == (3, None)


def test_a_task_event_has_the_same_attributes_and_attempts_count_from_1() -> None:
    error = ValueError("bad")
    event = StatusTracker().step("a", "parse", "fail", stage="s", worker="s-W0", attempt=3, error=error, duration=0.5)
    assert (event.item_id, event.stage, event.task_name, event.event_type, event.attempt) == ("a", "s", "parse", "fail", 3)
    assert (event.error, event.duration, event.worker) == (error, 0.5, "s-W0")
    assert StatusTracker().step("a", "parse", "start").attempt == 1
    assert StatusTracker().step("a", "parse", "start").duration is None


def test_the_metadata_of_retrying_and_of_failed_have_the_same_keys() -> None:
    _, _, retrying, _, failed = filled().get_history(2)
    assert retrying.metadata == {"attempt": 2, "error": "busy", "error_type": "OSError"}
    assert failed.metadata == {"error": "bad", "error_type": "ValueError"}


def test_events_are_item_changed_and_step_event_on_the_wire(shared_daemon: Daemon) -> None:
    code = """
import taskmeter
tracker = taskmeter.StatusTracker()
tracker.change([1, "x"], "failed", stage="fetch", worker="fetch-W3", error=ValueError("bad"))
tracker.step([1, "x"], "parse", "retry", stage="fetch", attempt=2)
"""
    token = start_python(shared_daemon.calls, code)
    assert end_of(shared_daemon.calls, token).exit_code == 0
    kinds = [event_pb2.EVENT_KIND_ITEM, event_pb2.EVENT_KIND_STEP]
    changed, step = (event for event in events(shared_daemon.calls, token, kinds=kinds))
    assert changed.item_changed.item_id.json == '[1,"x"]'
    assert (changed.item_changed.stage, changed.item_changed.status, changed.item_changed.worker) == ("fetch", 4, "fetch-W3")
    assert (step.step.step, step.step.type, step.step.attempt) == ("parse", 3, 1)


# -------------------------------------------------------------------------------------------------------------- queries


def test_get_status_is_the_newest_event_or_none() -> None:
    tracker = filled()
    found = tracker.get_status("a")
    assert found is not None and (found.status, found.worker) == ("completed", "fetch-W3")
    assert tracker.get_status("nobody") is None


def test_get_by_status_and_get_stats() -> None:
    tracker = filled()
    assert [event.item_id for event in tracker.get_by_status("failed")] == [2, ("c", 3)]
    assert tracker.get_by_status("queued") == []
    assert tracker.get_stats() == {"queued": 0, "in_progress": 0, "completed": 1, "failed": 2, "retrying": 0, "skipped": 1}


def test_get_history_is_chronological() -> None:
    history = filled().get_history(2)
    assert [event.status for event in history] == ["queued", "in_progress", "retrying", "in_progress", "failed"]
    assert [event.timestamp for event in history] == sorted(event.timestamp for event in history)
    assert filled().get_history("nobody") == []


def test_get_tracked_ids_get_failed_items_and_get_error_summary() -> None:
    tracker = filled()
    assert tracker.get_tracked_ids() == ["a", 2, ("c", 3), "d"]
    failed = tracker.get_failed_items()
    assert [(item.item_id, item.error, item.error_type, item.stage, item.attempts) for item in failed] == [
        (2, "bad", "ValueError", "fetch", 2), (("c", 3), "bad", "ValueError", "fetch", 2),
    ]  # fmt: skip
    summary = tracker.get_error_summary()
    assert (summary.total_failed, summary.failed_items) == (2, failed)
    assert (summary.errors_by_type, summary.errors_by_stage) == ({"ValueError": 2}, {"fetch": 2})
    assert str(summary) == "ErrorSummary: 2 failed items\n\nBy type:\n  ValueError: 2\n\nBy stage:\n  fetch: 2"


def test_an_error_that_is_only_text_has_its_type_read_from_it() -> None:
    tracker = StatusTracker()
    tracker.change("a", "failed", error="KeyError: 'x'")
    tracker.change("b", "failed", error="went wrong")
    tracker.change("c", "failed")
    assert [item.error_type for item in tracker.get_failed_items()] == ["KeyError", "Exception", "Exception"]
    assert tracker.get_failed_items()[2].error == "Unknown error"


# ----------------------------------------------------------------------------------------------------------------- beat


def seconds_of(call: Callable[[], Any], rounds: int = 200) -> float:
    """Return the shortest time of a call."""
    best = 1.0
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def test_beat_memory_is_bounded() -> None:
    def grown(count: int) -> int:
        tracemalloc.start()
        tracker = StatusTracker(max_items=1000)
        for n in range(count):
            tracker.change(n, "in_progress")
            tracker.change(n, "completed")
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert tracker.get_stats()["completed"] == count
        return size

    assert grown(10_000) < 1.5 * grown(2_000)


def test_beat_what_is_known_survives_the_process_and_is_seen_by_others(shared_daemon: Daemon) -> None:
    code = (
        "import os, signal, taskmeter; taskmeter.StatusTracker().change('a', 'in_progress'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    token = start_python(shared_daemon.calls, code)
    assert end_of(shared_daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SIGNALED
    found = [event.item_changed for event in events(shared_daemon.calls, token) if event.HasField("item_changed")]
    assert [(each.item_id.text, each.status) for each in found] == [("a", 2)]


def test_beat_queries_do_not_look_through_everything() -> None:
    small, large = StatusTracker(), StatusTracker()
    for tracker, count in ((small, 100), (large, 50_000)):
        for n in range(count):
            tracker.change(n, "completed")
    assert seconds_of(large.get_stats) < 10 * seconds_of(small.get_stats) + 20e-6
    assert seconds_of(lambda: large.get_by_status("failed")) < 100e-6


def test_beat_a_slow_callback_costs_the_work_nothing() -> None:
    pause = threading.Event()

    def rate(callback: Any) -> float:
        tracker = StatusTracker(on_status_change=callback)
        begin = time.perf_counter()
        for n in range(500):
            tracker.change(n, "completed")
        return time.perf_counter() - begin

    assert rate(lambda _: pause.wait(0.001)) < 0.25, "500 waits of 1 ms in the worker would take more than 0.5 s"


def test_beat_callbacks_come_in_order_per_item() -> None:
    seen: dict[int, list[str]] = {}

    async def on_change(event: StatusEvent) -> None:
        await asyncio.sleep(0.001 * (event.item_id % 3))  # there, the faster one overtook
        seen.setdefault(event.item_id, []).append(event.status)

    tracker = StatusTracker(on_change)

    async def worker(n: int) -> None:
        for status in ("queued", "in_progress", "completed"):
            tracker.change(n, status)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(worker, range(20)))
        await tracker.drain()

    asyncio.run(main())
    assert seen == {n: ["queued", "in_progress", "completed"] for n in range(20)}


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "plain"])
def test_beat_a_raising_on_task_complete_runs_nothing_again(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def fail(event: TaskEvent) -> None:
        calls.append(event.event_type)
        raise ValueError("in the observer")

    async def fail_async(event: TaskEvent) -> None:
        fail(event)

    tracker = StatusTracker(on_task_complete=fail_async if is_async else fail)
    runs = 0
    for _attempt in range(3):  # as a pipeline retries
        try:
            runs += 1
            tracker.step("a", "parse", "complete")
        except ValueError:
            continue
        break
    assert tracker.flush(30)
    assert (runs, calls) == (1, ["complete"])
    assert "in the observer" in caplog.text


def test_beat_a_plain_callback_fails_no_item() -> None:
    seen: list[str] = []
    tracker = StatusTracker(on_status_change=lambda event: seen.append(event.status), on_task_start=lambda event: None)
    tracker.step("a", "t", "start")
    tracker.change("a", "completed")
    assert tracker.flush(30)
    assert seen == ["completed"]
    assert tracker.get_stats()["failed"] == 0


def test_beat_every_status_can_be_told_whoever_retries() -> None:
    tracker = StatusTracker()
    for word in WORDS:
        tracker.change("a", word)  # type: ignore[arg-type]
    assert [event.status for event in tracker.get_history("a")] == WORDS
    assert wait_until(lambda: tracker.get_stats()["skipped"] == 1, "the last one")
    assert "antflow" not in sys.modules


def test_the_same_tracker_works_remotely(shared_daemon: Daemon) -> None:
    code = """
import taskmeter
tracker = taskmeter.StatusTracker()
for item_id, status in (("a", "queued"), ("a", "completed"), (2, "failed")): tracker.change(item_id, status, stage="fetch")
"""
    token = start_python(shared_daemon.calls, code)
    seen: list[tuple[Any, str]] = []

    async def on_status_change(event: StatusEvent) -> None:
        seen.append((event.item_id, event.status))

    with taskmeter.SyncClient(state_dir=str(shared_daemon.state_dir)) as client:
        tracker = StatusTracker.attach(client, token, on_status_change)
        assert tracker.wait(30)
        assert seen == [("a", "queued"), ("a", "completed"), (2, "failed")]
        assert tracker.get_stats() == {**dict.fromkeys(WORDS, 0), "completed": 1, "failed": 1}
        assert [event.status for event in tracker.get_history("a")] == ["queued", "completed"]
        assert [event.item_id for event in tracker.get_by_status("failed")] == [2]
        assert tracker.get_status("a").status == "completed"
