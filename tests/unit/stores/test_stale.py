"""What is changed as what it is not any more stays as it is, and whoever gives up a change holds on until it is decided."""

from __future__ import annotations

import asyncio
import logging

import apsw
import pytest

from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.ports import Change
from taskmeter.errors import NotFoundError, UnavailableError
from taskmeter.model.event import Event, TaskDeleted
from taskmeter.model.state import State
from taskmeter.model.task import Task
from taskmeter.stores import sqlite
from taskmeter.stores.sqlite import SqliteStore
from taskmeter.stores.stale import REFUSED
from tests.unit.stores.test_sqlite import acceptance, some_task

STARTED = [Step(State.STARTING, "a slot is free")]
RUNS = [Step(State.INITIALIZING, "the process runs"), Step(State.RUNNING, "running")]


@pytest.fixture
async def started(store: SqliteStore) -> Task:
    task = some_task()
    await store.commit([acceptance(task)])
    [(committed, _)] = await store.commit([change_of(task, STARTED)])
    return committed


async def test_a_store_that_cannot_read_what_a_stale_change_is_about_serves_on(
    store: SqliteStore, started: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> Task:
        raise apsw.BusyError

    await store.commit([change_of(started, RUNS)])
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "decode_task", unreadable)
        with pytest.raises(UnavailableError):
            await store.commit([change_of(started, RUNS)])
    await store.commit([acceptance(some_task())])


@pytest.mark.guarantee("G9")
async def test_g9_a_task_moves_once_from_each_state(store: SqliteStore, started: Task, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Task] = []
    [(stopping, _)] = await store.commit([change_of(started, [*RUNS, Step(State.STOPPING, "it ended")])])
    store.set_listener(lambda results: told.extend(task for task, _ in results))
    head = store.head_seq
    with caplog.at_level(logging.ERROR), pytest.raises(UnavailableError, match="somebody else"):
        await store.commit([change_of(started, RUNS)])
    assert f"{started.token}: {REFUSED}: attempt 0 in STARTING, not 0 in STOPPING" in caplog.text
    assert store.load(started.token) == stopping
    assert told == [stopping], "memory hears what the task is"
    other = some_task()
    [(_, block)] = await store.commit([acceptance(other)])
    assert block is not None and block.first_seq == head + 1, "no number is lost"


async def test_others_of_the_same_transaction_are_stored(store: SqliteStore, started: Task) -> None:
    await store.commit([change_of(started, RUNS)])
    other = some_task()
    results = await asyncio.gather(
        store.commit([change_of(started, RUNS)]), store.commit([acceptance(other)]), return_exceptions=True
    )
    assert isinstance(results[0], UnavailableError)
    assert store.load(other.token) is not None


async def test_fields_of_another_attempt_do_not_overwrite_this_one(store: SqliteStore, started: Task) -> None:
    again = started.evolve(state=State.NONE, attempt=1)
    ends = [*RUNS, Step(State.STOPPING, "it ended"), Step(State.NONE, "retry", then={"attempt": 1})]
    await store.commit([change_of(started, ends)])
    with pytest.raises(UnavailableError):
        await store.commit([Change(started.evolve(priority=7), ())])
    stored = store.load(started.token)
    assert stored is not None
    assert (stored.attempt, stored.state, stored.priority) == (again.attempt, again.state, started.priority)


async def test_a_change_of_a_deleted_task_is_one_of_no_task(store: SqliteStore, started: Task) -> None:
    gone = Event(started.token, 1.0, 0, {}, TaskDeleted())
    await store.commit([Change(started, (gone,), delete=True)])
    with pytest.raises(NotFoundError):
        await store.commit([change_of(started, RUNS)])


async def test_who_gives_up_a_change_goes_on_when_it_is_decided(store: SqliteStore, started: Task) -> None:
    told: list[Task] = []
    store.set_listener(lambda results: told.extend(task for task, _ in results))
    lock, locked = asyncio.Lock(), asyncio.Event()

    async def change() -> None:
        async with lock:
            locked.set()
            await store.commit([change_of(started, RUNS)])

    work = asyncio.ensure_future(change())
    await locked.wait()
    work.cancel()
    async with lock:
        assert [task.state for task in told] == [State.RUNNING], "its lock was free before memory had the change"
    with pytest.raises(asyncio.CancelledError):
        await work
