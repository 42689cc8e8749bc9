"""The embedded store: durable, ordered, atomic, and readable beside its writer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from taskmeter.core.lifecycle import Step, change_of
from taskmeter.core.ports import Change, Filter
from taskmeter.errors import LimitError, UnavailableError
from taskmeter.model.ids import new_token
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Target, Task, TaskSpec
from taskmeter.model.usage import Integrals, MemorySource, Metrics, MetricsSource, Progress, Usage
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores.frames import split_frames
from taskmeter.stores.migrate import migrations
from taskmeter.stores.sqlite import SqliteStore

USAGE = Usage(
    Metrics(cpu_time_ns=7, io_read_bytes=None, io_write_bytes=0, source=MetricsSource.CGROUP, memory_source=MemorySource.PSS),
    Integrals(2**62, 2**100),
    Progress(completed_count=3, status="näher", custom={"pages": 4}),
)

ENDS = [Step(State.STOPPING, "it is to end"), Step(State.COMPLETED, "end")]


def some_task(name: str = "n", **fields: object) -> Task:
    now = time.time()
    spec = TaskSpec(argv=("true", "ü"), name=name, env={"A": "1"}, tags={"k": name}, queue="default")
    values: dict[str, object] = {"token": new_token(), "spec": spec, "spec_hash": b"h", "create_time": now, "queued_time": now}
    return Task(**{**values, "tags": spec.tags, **fields})  # type: ignore[arg-type]


def acceptance(task: Task) -> Change:
    return change_of(task, [], spec=ProtoCodec().encode_spec(task.spec))


async def test_what_was_committed_is_read_back_equal_in_every_field(store: SqliteStore, tmp_path: Path) -> None:
    task = some_task(idempotency_key="key", earlier=Integrals(5, 6), metadata={"m": "ö"}, priority=-3, target=Target(7, 8, "b"))
    await store.commit([acceptance(task)])
    ended = replace(
        task, outcome=Outcome.SIGNALED, incarnation=2**62, boot_id="b", launch_time=1.5, start_time=2.5,
        end_time=3.5, gone_time=4.5, pid=77, exit_code=-9, exit_signal=9, exit_message="killed by SIGKILL",
        stop=StopOrder(Cause.CANCEL, 3.0, 10.0, "why", 2), usage=USAGE, unkillable_pids=(4, 5),
    )  # fmt: skip
    [(committed, block)] = await store.commit([change_of(ended, ENDS)])
    assert block is not None and (block.first_seq, block.last_seq) == (2, 3)
    assert committed == replace(ended, state=State.COMPLETED, seq=3)
    assert store.load(task.token) == committed
    again = SqliteStore(tmp_path / "t.db", ProtoCodec())
    assert again.load(task.token) == committed
    assert (again.store_id, again.head_seq) == (store.store_id, 3)
    await again.close()


async def test_seqs_are_consecutive_over_concurrent_commits_and_the_listener_sees_them_in_order(store: SqliteStore) -> None:
    seen: list[int] = []
    store.set_listener(lambda results: seen.extend(block.last_seq for _, block in results if block))
    import asyncio

    await asyncio.gather(*(store.commit([acceptance(some_task())]) for _ in range(300)))
    assert seen == list(range(1, 301))
    assert [block.first_seq for block in store.read_events(1, 1000)] == list(range(1, 301))


async def test_a_position_inside_a_block_returns_that_block(store: SqliteStore) -> None:
    task = some_task()
    steps = [Step(State.STARTING, "s"), Step(State.INITIALIZING, "i"), Step(State.RUNNING, "r")]
    await store.commit([change_of(task, steps, spec=ProtoCodec().encode_spec(task.spec))])
    await store.commit([acceptance(some_task())])
    [inside, after] = store.read_events(3, 10)
    assert (inside.first_seq, inside.last_seq, len(split_frames(inside.frames)), inside.kinds) == (1, 4, 4, b"\x01" * 4)
    assert after.first_seq == 5
    assert [block.first_seq for block in store.read_events(5, 10)] == [5]
    for position in (1, 2, 4):
        assert [block.first_seq for block in store.read_events(position, 10, task.token)] == [1]
    assert store.read_events(5, 10, task.token) == []
    [(task, _)] = await store.commit([change_of(task.evolve(state=State.RUNNING), [Step(State.STOPPING, "x")])])
    assert [block.first_seq for block in store.read_events(3, 1, task.token)] == [1]
    assert [block.first_seq for block in store.read_events(5, 1, task.token)] == [6]


async def test_a_refused_change_takes_no_other_with_it_and_leaves_no_hole(store: SqliteStore) -> None:
    import asyncio

    first = some_task(idempotency_key="same")
    second = some_task(idempotency_key="same")
    third = some_task()
    results = await asyncio.gather(*(store.commit([acceptance(t)]) for t in (first, second, third)), return_exceptions=True)
    assert sum(isinstance(result, UnavailableError) for result in results) == 1
    assert [block.first_seq for block in store.read_events(1, 10)] == [1, 2]
    assert store.head_seq == 2


@pytest.mark.parametrize(
    ("outcome", "held"),
    [
        (Outcome.SUCCEEDED, True),
        (Outcome.CANCELLED, True),
        (Outcome.INTERRUPTED, True),
        (Outcome.FAILED, False),
        (Outcome.LOST, False),
    ],
)
async def test_the_outcome_decides_whether_the_idempotency_key_is_held(store: SqliteStore, outcome: Outcome, held: bool) -> None:
    task = some_task(idempotency_key="k")
    await store.commit([acceptance(task)])
    found = store.find_key(task.tenant, "k")
    assert found is not None and found.token == task.token
    await store.commit([change_of(replace(task, outcome=outcome), ENDS)])
    assert (store.find_key(task.tenant, "k") is not None) is held
    loaded = store.load(task.token)
    assert loaded is not None and loaded.idempotency_key == "k"


async def test_filters_are_anded_and_pages_are_newest_first(store: SqliteStore) -> None:
    tasks = [some_task(f"job-{i}", create_time=100.0 + i) for i in range(5)]
    for task in tasks:
        await store.commit([acceptance(task)])
    mine = Filter(tenant="default")
    assert [t.spec.name for t in store.select(mine, None, 3)] == ["job-4", "job-3", "job-2"]
    after = (tasks[2].create_time, tasks[2].token)
    assert [t.spec.name for t in store.select(mine, after, 3)] == ["job-1", "job-0"]
    assert [t.token for t in store.select(replace(mine, tags={"k": "job-1"}, name_prefix="job"), None, 9)] == [tasks[1].token]
    assert store.select(replace(mine, tags={"k": "job-1"}, name_prefix="other"), None, 9) == []
    assert store.select(replace(mine, tenant="stranger"), None, 9) == []
    assert store.count(replace(mine, created_after_time=101.0, created_before_time=104.0)) == 2
    assert store.count(replace(mine, name_prefix="%")) == 0


async def test_a_full_disk_is_said_and_changes_nothing_and_passes(store: SqliteStore) -> None:
    writing: apsw.Connection = store._writing
    writing.pragma("max_page_count", writing.pragma("page_count") + 2)
    big = some_task(metadata={str(i): "x" * 4000 for i in range(30)})
    with pytest.raises(LimitError) as refused:
        await store.commit([acceptance(big)])
    assert refused.value.reason == "DISK_FULL"
    assert store.load(big.token) is None and store.head_seq == 0
    writing.pragma("max_page_count", 1_000_000)
    await store.commit([acceptance(big)])
    assert store.head_seq == 1


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "t.db"))
    connection.pragma("user_version", migrations()[-1][0] + 1)
    connection.close()
    with pytest.raises(UnavailableError, match="schema"):
        SqliteStore(tmp_path / "t.db", ProtoCodec())


def test_a_file_that_is_no_database_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(UnavailableError) as refused:
        SqliteStore(tmp_path / "t.db", ProtoCodec())
    assert refused.value.hint


@pytest.fixture(autouse=True)
def _no_left_over_threads() -> Iterator[None]:
    import threading

    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        threading.Event().wait(0.01)
