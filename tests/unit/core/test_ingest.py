"""Item logs into the store: in turns, bounded, again after what failed, and before the end of their attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskmeter.core import ingest as module
from taskmeter.core.ingest import Ingest
from taskmeter.errors import UnavailableError
from taskmeter.model.item import ItemChanged, ItemStatus
from taskmeter.model.task import Task
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores.sqlite import SqliteStore
from tests.unit.stores.test_items import Batch, accept
from tests.waiting import wait_until_async


class Log:
    """A log that holds so many items; read `step` at a time, from where it was committed."""

    def __init__(self, count: int, step: int = 10) -> None:
        self.count, self.step = count, step
        self.done = self.taken = self.read_count = 0
        self.closed = self.there = True
        self.ended: list[bool] = []
        self.problem: Exception | None = None

    def exists(self) -> bool:
        return self.there

    def dropped_count(self) -> int:
        return 0

    def open(self, offsets: Mapping[str, int]) -> Log:
        self.done = self.taken = offsets.get("log", 0)
        self.closed = False
        return self

    def read(self, _most_bytes: int, ended: bool) -> Batch | None:
        self.read_count += 1
        self.ended.append(ended)
        if self.problem is not None:
            raise self.problem
        end = min(self.done + self.step, self.count)
        if end == self.done:
            return None
        self.taken = end
        return Batch([ItemChanged(b"i%d" % number, ItemStatus.COMPLETED) for number in range(self.done, end)], {"log": end})

    def commit(self) -> list[str]:
        self.done = self.taken
        return []

    def close(self) -> None:
        self.closed = True


class Place:
    """A service with logs by token."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.logs: dict[str, Log] = {}
        self.live: dict[str, Any] = {}
        self.background: list[asyncio.Task[None]] = []
        self.executor = SimpleNamespace(items_of=lambda token, _attempt: self.logs[token])
        self.ingest = Ingest(self)  # type: ignore[arg-type]

    async def task(self, log: Log) -> Task:
        task = await accept(self.store)
        self.logs[task.token] = log
        self.live[task.token] = SimpleNamespace(task=task)
        return task

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.background.append(asyncio.ensure_future(work))

    def count(self, task: Task) -> int:
        return self.store.items.stats(task.token).event_count


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "t.db", ProtoCodec())
    made = Place(store)
    keeping = asyncio.ensure_future(made.ingest.keep())
    yield made
    keeping.cancel()
    await asyncio.wait([keeping, *made.background])
    made.ingest.close()
    await store.close()


async def test_all_logs_are_read_in_turns(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_COUNT", 10)
    monkeypatch.setattr(module, "ROUND_COUNT", 20)
    long, short = await place.task(Log(3000)), await place.task(Log(5))
    place.ingest.follow(long)
    await wait_until_async(lambda: place.count(long) > 100, "the long one is under way")
    place.ingest.follow(short)
    await wait_until_async(lambda: place.count(short) == 5, "the short one is read")
    assert place.count(long) < 3000
    await wait_until_async(lambda: place.count(long) == 3000, "the long one is read")
    assert place.store.items.stats(long.token).total.completed == 3000


async def test_an_attempt_without_a_log_is_looked_at_less_and_less(place: Place) -> None:
    log = Log(5)
    log.there = False
    task = await place.task(log)
    place.ingest.follow(task)
    place.ingest.follow(task)
    await asyncio.sleep(0)
    assert log.read_count == 0
    log.there = True
    await wait_until_async(lambda: place.count(task) == 5, "it is found")


async def test_what_could_not_be_stored_is_read_and_stored_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    store, calls = place.store, []
    ingest = store.ingest

    async def fail_twice(intake: Any) -> Any:
        calls.append(intake)
        if len(calls) <= 2:
            raise UnavailableError("down", reason="STORE_UNAVAILABLE")
        return await ingest(intake)

    monkeypatch.setattr(store, "ingest", fail_twice)
    task = await place.task(Log(25))
    place.ingest.follow(task)
    await wait_until_async(lambda: place.count(task) == 25, "all is stored")
    assert place.store.items.stats(task.token).total.completed == 25


async def test_the_rest_of_a_log_comes_before_the_end(place: Place) -> None:
    log = Log(2000)
    task = await place.task(log)
    await place.ingest.finish(task.token, 0)
    assert (place.count(task), log.closed, set(log.ended)) == (2000, True, {True})
    assert place.store.items.offsets(task.token, 0) == {"log": 2000}, "nobody may read it anew before the end is stored"
    place.ingest.settled(task.token, 0)
    await asyncio.wait(place.background)
    assert place.store.items.attempts_with_offsets() == []


async def test_an_endless_log_does_not_hold_up_the_end_and_its_rest_comes_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.05)
    monkeypatch.setattr(module, "LONG_COUNT", 10)
    log = Log(10**9)
    task = await place.task(log)
    begin = asyncio.get_running_loop().time()
    await place.ingest.finish(task.token, 0)
    assert asyncio.get_running_loop().time() - begin < 3
    before = place.count(task)
    await wait_until_async(lambda: place.count(task) > before, "it goes on")
    log.count = log.taken
    await wait_until_async(lambda: log.closed, "it ends")
    await asyncio.wait(place.background)
    assert place.store.items.attempts_with_offsets() == []


async def test_a_log_that_cannot_be_read_is_not_taken_for_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.1)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    log = Log(30)
    log.problem = OSError(24, "Too many open files")
    task = await place.task(log)
    await place.ingest.finish(task.token, 0)
    assert place.count(task) == 0
    log.problem = None
    await wait_until_async(lambda: place.count(task) == 30, "it is read once that is possible")


async def test_the_next_daemon_goes_on_with_what_was_left(place: Place) -> None:
    task = await place.task(Log(10))
    place.ingest.follow(task)
    await wait_until_async(lambda: place.count(task) == 10, "the first ones are read")
    other = Place(place.store)
    other.logs[task.token] = log = Log(40)
    other.ingest.resume()
    keeping = asyncio.ensure_future(other.ingest.keep())
    await wait_until_async(lambda: log.read_count and log.closed, "the rest is read")
    keeping.cancel()
    await asyncio.wait([keeping, *other.background])
    other.ingest.close()
    assert place.count(task) == 40


async def test_a_deleted_task_is_followed_no_more(place: Place) -> None:
    log = Log(10)
    task = await place.task(log)
    place.ingest.follow(task)
    await wait_until_async(lambda: place.count(task) == 10, "it is read")
    place.ingest.forget(frozenset({task.token}))
    await wait_until_async(lambda: log.closed, "it is closed")
