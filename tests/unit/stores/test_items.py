"""What the work of tasks reports, in the store: item states, counts, histories, messages, offsets; each event once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskmeter.core.hub import Hub
from taskmeter.core.item_ports import Intake, ItemRow
from taskmeter.core.lifecycle import change_of
from taskmeter.core.ports import Change, Ingested
from taskmeter.errors import TaskmeterError
from taskmeter.model.event import Event, TaskDeleted
from taskmeter.model.ids import new_token
from taskmeter.model.item import (
    Item,
    ItemChanged,
    ItemCounts,
    ItemStatus,
    Message,
    MessageLevel,
    Said,
    StepEvent,
    StepEventType,
)
from taskmeter.model.task import Task, TaskSpec
from taskmeter.rpc.backlog import Backlog
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores import items as rows
from taskmeter.stores.frames import split_frames
from taskmeter.stores.items import reported_in
from taskmeter.stores.sqlite import SqliteStore
from taskmeter.v1 import event_pb2, task_service_pb2

DONE, FAILED, QUEUED, BUSY = ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.QUEUED, ItemStatus.IN_PROGRESS
Payload = ItemChanged | StepEvent | Message


class Batch:
    """A batch as an item log gives it, made of model values."""

    bad_count = dropped_count = 0

    def __init__(self, payloads: Sequence[Payload], offsets: Mapping[str, int] | None = None, begin: float = 100.0) -> None:
        self.events = [Event("", begin + index, 0, {}, payload) for index, payload in enumerate(payloads)]
        self.count = len(payloads)
        self.kinds = bytes(payload.kind for payload in payloads)
        self.offsets = dict(offsets or {"7-1-0": 64})
        self.last_time = self.events[-1].time if payloads else 0.0
        self._reported = reported_in(self.events)

    def frames(self, first_seq: int, token: str, attempt: int, tags: Mapping[str, str]) -> bytes:
        events = (Event(token, event.time, attempt, tags, event.payload) for event in self.events)
        return b"".join(ProtoCodec().frame_event(event, seq) for seq, event in enumerate(events, first_seq))

    def items(self) -> Sequence[ItemRow]:
        return self._reported.items if self._reported else ()

    def messages(self) -> Sequence[tuple[int, str, float]]:
        return self._reported.messages if self._reported else ()


def new_task(**fields: object) -> Task:
    spec = TaskSpec(argv=("true",))
    values: dict[str, object] = {"token": new_token(), "spec": spec, "spec_hash": b"h", "create_time": 1.0, "tags": {"k": "v"}}
    return Task(**{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture
async def task(store: SqliteStore) -> Task:
    return await accept(store)


async def accept(store: SqliteStore) -> Task:
    task = new_task()
    [(committed, _)] = await store.commit([change_of(task, [], spec=ProtoCodec().encode_spec(task.spec))])
    return committed


async def report(store: SqliteStore, task: Task, *payloads: Payload, attempt: int = 0, **more: object) -> Ingested:
    return await store.ingest(Intake(task, attempt, Batch(payloads, **more)))  # type: ignore[arg-type]


async def delete(store: SqliteStore, task: Task) -> None:
    await store.commit([Change(task, (Event(task.token, 1.0, 0, {}, TaskDeleted()),), delete=True)])


def decoded(frames: Sequence[bytes]) -> list[event_pb2.Event]:
    return list(task_service_pb2.StreamEventsResponse.FromString(b"".join(frames)).events)


async def test_a_batch_is_events_states_and_offsets_at_once(store: SqliteStore, task: Task) -> None:
    done = await report(
        store,
        task,
        ItemChanged(b"sa", BUSY, "read", worker="w", size=9, metadata={"m": "1"}),
        ItemChanged(b"i2", QUEUED),
        ItemChanged(b"sa", DONE, "write"),
        offsets={"1-1-0": 200, "2-1-0": 100},
    )
    assert done.block is not None and (done.block.first_seq, done.block.last_seq, done.said) == (2, 4, None)
    [_, block] = store.read_events(1, 10)
    assert block == done.block and block.tags == {"k": "v"}
    assert [event.seq for event in decoded(split_frames(block.frames))] == [2, 3, 4]
    a = Item(b"sa", "write", DONE, 0, "", "", 9, {"m": "1"}, 102.0, 2)
    assert store.items.get(task.token, b"sa") == a
    assert store.items.offsets(task.token, 0) == {"1-1-0": 200, "2-1-0": 100}
    loaded = store.load(task.token)
    assert loaded is not None and loaded.seq == 4
    assert store.items.get(task.token, b"sb") is None and store.items.get("tk_nobody", b"sa") is None


async def test_what_is_not_said_anew_stays_as_it_was(store: SqliteStore, task: Task) -> None:
    await report(store, task, ItemChanged(b"sa", BUSY, "read", size=9, metadata={"m": "1"}))
    await report(store, task, StepEvent(b"sa", "open", StepEventType.START), StepEvent(b"sb", "open", StepEventType.START))
    a, b = store.items.get(task.token, b"sa"), store.items.get(task.token, b"sb")
    assert a is not None and (a.status, a.stage, a.size, a.metadata, a.event_count) == (BUSY, "read", 9, {"m": "1"}, 2)
    assert b is not None and (b.status, b.event_count) == (BUSY, 1), "a step of an item that nobody has named: somebody is at it"
    assert store.items.stats(task.token).total == ItemCounts(in_progress=2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from([b"sa", b"sb", b"i1", b"jnull"]), st.sampled_from(["", "x", "y"]), st.integers(1, 6)),
            min_size=1,
            max_size=8,
        ),
        max_size=8,
    )
)
def test_counts_are_those_of_the_states(batches: list[list[tuple[bytes, str, int]]]) -> None:
    connection, writer = scratch()
    states: dict[bytes, tuple[str, int]] = {}
    seqs = count(1)
    for batch in batches:
        first = next(seqs)
        for _ in batch[1:]:
            next(seqs)
        events = [Event("t", 1.0, 0, {}, ItemChanged(key, ItemStatus(status), stage)) for key, stage, status in batch]
        found = reported_in(events)
        assert found is not None
        writer.put("t", 0, first, found)
        states.update((key, (stage, status)) for key, stage, status in batch)
    found_rows: list[Any] = connection.execute("SELECT stage || ':' || status, count FROM item_stats").fetchall()
    stats: dict[str, int] = dict(found_rows)
    wanted: dict[str, int] = {}
    for stage, status in states.values():
        wanted[f"{stage}:{status}"] = wanted.get(f"{stage}:{status}", 0) + 1
    assert stats == wanted
    if batches:
        row = connection.execute("SELECT * FROM item_sets").fetchone()
        assert row is not None
        assert list(row[4:10]) == [sum(status == each for _, status in states.values()) for each in range(1, 7)]
        assert row[3] == sum(map(len, batches))


def scratch() -> tuple[apsw.Connection, rows.ItemWriter]:
    from taskmeter.stores.migrate import migrate
    from taskmeter.stores.queries import load_queries

    connection = apsw.Connection(":memory:")
    migrate(connection)
    return connection, rows.ItemWriter(connection, load_queries())


async def test_pages_of_items_name_each_that_matches_once(
    store: SqliteStore, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SCAN_COUNT", 7)
    statuses = [DONE, DONE, DONE, FAILED, QUEUED]
    given_items = {f"s{i:03}".encode(): (statuses[i % 5], "xy"[i % 2]) for i in range(60)}
    await report(store, task, *(ItemChanged(key, status, stage) for key, (status, stage) in given_items.items()))
    other = await accept(store)
    await report(store, other, ItemChanged(b"sother", FAILED))
    for wanted in ([], [DONE], [FAILED], [FAILED, DONE], [QUEUED, FAILED, DONE], [ItemStatus.SKIPPED]):
        for stage in ("", "x", "z"):
            for limit in (1, 4, 100):
                found, after = [], (0, b"")
                while True:
                    page, following = store.items.select(task.token, wanted, stage, after, limit)
                    assert len(page) <= limit
                    found += [item.key for item in page]
                    if following is None:
                        break
                    after = following
                right = {
                    key for key, (status, its) in given_items.items() if (not wanted or status in wanted) and stage in ("", its)
                }
                assert sorted(found) == sorted(right), (wanted, stage, limit)


async def test_the_history_of_an_item_is_read_from_the_events(store: SqliteStore, task: Task) -> None:
    for number in range(5):
        filler = [ItemChanged(b"s%d" % index, DONE) for index in range(20)]
        mine = ItemChanged(b"smine", BUSY, attempt=number)
        await report(store, task, *filler, mine, Message(MessageLevel.LOG, "x"), StepEvent(b"smine", "s", StepEventType.START))
    history = store.items.history(task.token, b"smine", 0, 100)
    assert history is not None and (history.next_seq, history.forgotten_count) == (0, 0)
    events = decoded(history.frames)
    assert [event.WhichOneof("payload") for event in events] == ["item_changed", "step"] * 5
    assert [event.item_changed.attempt for event in events[::2]] == [0, 1, 2, 3, 4]
    found, begin = [], 0
    while True:
        page = store.items.history(task.token, b"smine", begin, 3)
        assert page is not None
        found += [event.seq for event in decoded(page.frames)]
        if not page.next_seq:
            break
        begin = page.next_seq
    assert found == [event.seq for event in events]
    assert store.items.history(task.token, b"snobody", 0, 3) is None


async def test_a_history_says_how_much_of_it_is_no_longer_kept(store: SqliteStore, task: Task) -> None:
    for begin in (10.0, 20.0, 30.0):
        await report(store, task, ItemChanged(b"sa", BUSY), ItemChanged(b"sa", DONE), begin=begin)
    await store.upkeep.compact_events(25.0, 0)
    history = store.items.history(task.token, b"sa", 0, 100)
    assert history is not None and history.forgotten_count == 4
    assert [event.time for event in decoded(history.frames)] == [30.0, 31.0]
    item = store.items.get(task.token, b"sa")
    assert item is not None and item.event_count == 6


async def test_an_item_with_endless_events_takes_no_endless_row(store: SqliteStore, task: Task) -> None:
    for _ in range(3):
        await report(store, task, *(ItemChanged(b"sa", BUSY) for _ in range(900)))
    item = store.items.get(task.token, b"sa")
    history = store.items.history(task.token, b"sa", 0, 2000)
    assert item is not None and item.event_count == 2700
    assert history is not None and (len(history.frames), history.forgotten_count) == (rows.MOST_HISTORY, 1700)
    assert decoded(history.frames)[-1].seq == store.head_seq


async def test_the_newest_messages_are_kept_and_all_are_counted(store: SqliteStore, task: Task) -> None:
    done = await report(store, task, *(Message(MessageLevel.ERROR, f"e{i}") for i in range(70)))
    assert done.said is not None and done.said.errors[-1] == "e69" and len(done.said.errors) == 50
    done = await report(store, task, Message(MessageLevel.WARNING, "ü" * 300), Message(MessageLevel.ERROR, "e70"))
    said = done.said
    assert said is not None and (said.error_count, said.warning_count, said.errors[0]) == (71, 1, "e21")
    assert said.warnings[0].endswith("…") and len(said.warnings[0].encode()) <= 512
    assert store.items.said(task.token, 0) == said
    loaded = store.load(task.token)
    assert loaded is not None and loaded.said == Said(error_count=71, warning_count=1)
    done = await report(store, task, *(Message(MessageLevel.LOG, f"l{i}") for i in range(1500)), Message(MessageLevel.NOTE, "n"))
    assert done.said is None
    lines = store.items.newest(task.token, MessageLevel.LOG, 5000)
    assert (len(lines), lines[0].text, lines[-1].text, lines[-1].attempt) == (1000, "l500", "l1499", 0)


async def test_errors_are_those_of_the_newest_attempt(store: SqliteStore, task: Task) -> None:
    await report(store, task, Message(MessageLevel.ERROR, "first"))
    done = await report(store, task, Message(MessageLevel.ERROR, "second"), attempt=1)
    assert done.said == Said(("second",), (), 1, 0)
    late = await report(store, task, Message(MessageLevel.ERROR, "late"), attempt=0)
    assert late.said is None
    assert store.items.said(task.token, 1) == done.said
    assert store.items.said(task.token, 2) == Said()


async def test_reports_by_a_call_change_the_same_rows(store: SqliteStore, task: Task) -> None:
    await report(store, task, ItemChanged(b"sa", BUSY, "x"))
    payloads = (ItemChanged(b"sa", DONE, "y"), Message(MessageLevel.WARNING, "w"), StepEvent(b"sa", "s", StepEventType.FAIL))
    events = tuple(Event(task.token, 5.0, 0, task.tags, payload) for payload in payloads)
    [(committed, block)] = await store.commit([Change(task, events)])
    assert block is not None and block.kinds == b"\x02\x04\x03"
    assert committed.said == Said((), ("w",), 0, 1)
    item = store.items.get(task.token, b"sa")
    assert item is not None and (item.status, item.stage, item.event_count) == (DONE, "y", 3)
    assert store.items.stats(task.token).stages == (("y", ItemCounts(completed=1)),)


async def test_offsets_go_on_are_dropped_with_their_segments_and_forgotten_with_the_log(store: SqliteStore, task: Task) -> None:
    await report(store, task, ItemChanged(b"sa", BUSY), offsets={"a": 1, "b": 2})
    nothing = await store.ingest(Intake(task, 0, Batch([], {"b": 3}), ("a",)))
    assert nothing.block is None and store.items.offsets(task.token, 0) == {"b": 3}
    assert store.items.attempts_with_offsets() == [(task.token, 0)]
    await store.items.forget_offsets(task.token, 0)
    assert store.items.attempts_with_offsets() == []


async def test_a_deleted_task_leaves_no_rows_and_what_comes_late_makes_none(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PURGE_COUNT", 10)
    task, other = await accept(store), await accept(store)
    await report(store, task, *(ItemChanged(b"i%d" % index, DONE) for index in range(35)), Message(MessageLevel.LOG, "x"))
    await report(store, other, ItemChanged(b"sa", DONE))
    await delete(store, task)
    assert store.items.get(task.token, b"i3") is None and store.items.stats(task.token).total == ItemCounts()
    head = store.head_seq
    late = await report(store, task, ItemChanged(b"sa", DONE))
    assert late.block is None and store.head_seq == head
    while await store.items.purge():
        pass
    left = apsw.Connection(str(store._path))
    for table, wanted in (("items", 1), ("item_sets", 1), ("item_stats", 1), ("messages", 0), ("ingest_offsets", 1)):
        assert left.execute(f"SELECT count(*) FROM {table}").get == wanted, table
    assert store.items.get(other.token, b"sa") is not None


async def test_a_change_of_the_task_does_not_take_its_newest_seq_back(store: SqliteStore, task: Task) -> None:
    await report(store, task, ItemChanged(b"sa", DONE))
    await store.commit([Change(task.evolve(priority=3), ())])
    loaded = store.load(task.token)
    assert loaded is not None and (loaded.seq, loaded.priority) == (2, 3)


async def test_a_batch_that_cannot_be_stored_takes_no_other_with_it(store: SqliteStore, task: Task) -> None:
    import asyncio

    bad = Batch([ItemChanged(b"sa", DONE)])
    bad.frames = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    good = (report(store, task, ItemChanged(b"i%d" % index, DONE)) for index in range(3))
    results = await asyncio.gather(*good, store.ingest(Intake(task, 0, bad)), accept(store), return_exceptions=True)
    assert [isinstance(result, TaskmeterError) for result in results] == [False, False, False, True, False]
    assert [block.first_seq for block in store.read_events(1, 10)] == [1, 2, 3, 4, 5]


async def test_long_blocks_are_read_a_few_at_a_time_and_none_is_passed_over(store: SqliteStore, task: Task) -> None:
    for _ in range(12):
        await report(store, task, *(Message(MessageLevel.NOTE, "x" * 1000) for _ in range(30)))
    page = store.read_events(2, 100, most_bytes=50_000)
    assert [block.first_seq for block in page] == [2, 32]
    assert [block.first_seq for block in store.read_events(40, 100, task.token, 50_000)] == [32, 62]
    assert len(store.read_events(1, 100, most_bytes=10**9)) == 13
    backlog = Backlog(Hub(store))
    begin, seen = 1, 0
    while begin <= store.head_seq:
        found = backlog.page(begin, "")
        assert found.from_seq == begin and found.to_seq >= begin
        seen += len(found.ring)
        begin = found.to_seq + 1
    assert seen == store.head_seq
