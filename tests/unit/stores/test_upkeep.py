"""What retention asks of the store."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from taskmeter.core.ports import Change
from taskmeter.errors import OutOfRangeError
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Task
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores.migrate import migrations
from taskmeter.stores.sqlite import SqliteStore
from tests.unit.stores.test_sqlite import acceptance, some_task


async def put(store: SqliteStore, **fields: object) -> Task:
    task = some_task("n", **fields)
    await store.commit([acceptance(task)])
    return task


async def test_g8_compaction_deletes_from_the_front_only_and_reading_below_is_refused(store: SqliteStore) -> None:
    for _ in range(10):
        await put(store)
    assert await store.upkeep.compact_events(0.0, 5) == 4
    assert store.first_seq == 5
    for token in ("", "tk_any"):
        with pytest.raises(OutOfRangeError) as caught:
            store.read_events(4, 10, token)
        assert (caught.value.reason, caught.value.metadata) == ("EVENTS_COMPACTED", {"first_available_seq": "5"})
    assert [block.first_seq for block in store.read_events(5, 100)] == [5, 6, 7, 8, 9, 10]
    assert await store.upkeep.compact_events(0.0, 5) == 0
    assert await store.upkeep.compact_events(2e10, 0) == 6
    assert (store.first_seq, store.head_seq) == (11, 10)
    assert store.read_events(11, 10) == []


async def test_ended_tasks_come_in_the_order_of_their_ends_with_sizes_of_their_newest_attempt(store: SqliteStore) -> None:
    ended = {"state": State.COMPLETED, "outcome": Outcome.SUCCEEDED}
    await put(store)
    late = await put(store, **ended, end_time=2.0, idempotency_key="k")
    early = await put(store, **ended, end_time=1.0, attempt=1)
    upkeep = store.upkeep
    assert sorted(upkeep.unmeasured(10)) == sorted([(late.token, 0), (early.token, 1)])
    await upkeep.put_sizes([(late.token, 0, 100), (early.token, 0, 7)])
    assert [(task.token, task.holds_key, task.size_bytes) for task in upkeep.ended((0.0, ""))] == [
        (early.token, False, -1),  # the size is of an earlier attempt
        (late.token, True, 100),
    ]
    assert (upkeep.ended_count(), upkeep.ended_bytes()) == (2, 100)
    assert upkeep.ended((2.0, late.token)) == []
    await store.commit([Change(late, (), delete=True)])
    assert (upkeep.ended_count(), upkeep.ended_bytes()) == (1, 0)


async def test_log_starts_are_kept_and_go_with_the_task(store: SqliteStore) -> None:
    task = await put(store)
    await store.upkeep.put_log_start(task.token, 0, "stdout", 4096)
    await store.upkeep.put_log_start(task.token, 0, "stdout", 8192)
    assert store.upkeep.log_starts() == {(task.token, 0, "stdout"): 8192}
    await store.commit([Change(task, (), delete=True)])
    assert store.upkeep.log_starts() == {}


async def test_a_database_of_the_first_schema_is_brought_up(tmp_path: Path) -> None:
    old = apsw.Connection(str(tmp_path / "t.db"))
    old.execute(migrations()[0][1])
    old.execute(
        "INSERT INTO meta (key, value) VALUES ('store_id', 'old'), ('head_seq', 0), ('first_seq', 1), ('schema_version', 1)"
    )
    old.pragma("user_version", 1)
    old.close()
    opened = SqliteStore(tmp_path / "t.db", ProtoCodec())
    assert (opened.store_id, opened.upkeep.ended_count()) == ("old", 0)
    await opened.close()
