"""G1 and G11 against a database that fails: nothing acknowledged is lost, the code is right, and the store recovers or stops."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from taskmeter.errors import LimitError, TaskmeterError, UnavailableError
from taskmeter.model.task import Task
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores.damage import Damage
from taskmeter.stores.sqlite import SqliteStore
from tests.faults.size import new_seed, wanted_count
from tests.faults.sqlite_faults import Call, SqliteFaults
from tests.unit.stores.test_sqlite import acceptance, some_task
from tests.waiting import wait_until_async

COMMIT_COUNT = wanted_count(400)
"""Of each kind of fault; a fifth of them meet one."""


@pytest.fixture
def faults() -> Iterator[SqliteFaults]:
    installed = SqliteFaults()
    yield installed
    installed.remove()


@pytest.fixture
async def store(tmp_path: Path, faults: SqliteFaults) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "t.db", ProtoCodec())
    yield opened
    faults.heal()
    await opened.close()


async def accept(store: SqliteStore) -> Task:
    task = some_task()
    await store.commit([acceptance(task)])
    return task


async def reopened(tmp_path: Path, tokens: list[str]) -> int:
    """Open the database as the next daemon would; fail unless it has all these tasks and a sequence without a hole."""
    again = SqliteStore(tmp_path / "t.db", ProtoCodec())
    try:
        missing = [token for token in tokens if again.load(token) is None]
        assert not missing, f"{len(missing)} acknowledged tasks are lost"
        expected = 1
        while blocks := again.read_events(expected, 500):
            for block in blocks:
                assert block.first_seq == expected
                expected = block.last_seq + 1
        assert expected == again.head_seq + 1
        return again.head_seq
    finally:
        await again.close()


@pytest.mark.parametrize("after", [False, True], ids=["fails", "does it and then fails"])
@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        (Call.WRITE, apsw.SQLITE_FULL, "DISK_FULL"),
        (Call.WRITE, apsw.SQLITE_IOERR_WRITE, "STORE_UNAVAILABLE"),
        (Call.WRITE, apsw.SQLITE_READONLY, "STORE_UNAVAILABLE"),
        (Call.READ, apsw.SQLITE_IOERR_READ, "STORE_UNAVAILABLE"),
        (Call.TRUNCATE, apsw.SQLITE_IOERR_TRUNCATE, "STORE_UNAVAILABLE"),
    ],
    ids=lambda value: value.name if isinstance(value, Call) else None,
)
async def test_g1_g11_random_faults_lose_nothing_acknowledged(
    store: SqliteStore,
    faults: SqliteFaults,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    call: Call,
    code: int,
    reason: str,
    after: bool,
) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    print(f"N={COMMIT_COUNT} seed={seed}")
    tokens: list[str] = []
    refusals: list[str] = []
    for _ in range(COMMIT_COUNT):
        if chance.random() < 0.2:
            faults.plan(call, code, every=chance.randint(1, 4), times=chance.randint(1, 3), after=after)
        try:
            tokens.append((await accept(store)).token)
        except TaskmeterError as error:
            refusals.append(error.reason)
    faults.heal()
    record_property("faults", faults.failed.total())
    tokens.append((await accept(store)).token)  # by itself, in the same process
    assert len(tokens) > COMMIT_COUNT // 4
    assert refusals or call is not Call.WRITE
    assert set(refusals) <= {reason}
    await reopened(tmp_path, tokens)


async def test_g11_a_locked_database_answers_unavailable_and_recovers(store: SqliteStore, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "t.db"))
    other.execute("BEGIN IMMEDIATE")
    store._writing.set_busy_timeout(50)  # five seconds otherwise
    with pytest.raises(UnavailableError) as caught:
        await accept(store)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    other.execute("ROLLBACK")
    other.close()
    await reopened(tmp_path, [(await accept(store)).token])


@pytest.mark.parametrize("after", [False, True], ids=["fails", "does it and then fails"])
async def test_g1_a_failed_fsync_stops_the_store_for_good(
    store: SqliteStore, faults: SqliteFaults, tmp_path: Path, after: bool
) -> None:
    tokens = [(await accept(store)).token for _ in range(5)]
    faults.plan(Call.SYNC, apsw.SQLITE_IOERR_FSYNC, times=1, after=after)
    for _ in range(3):  # the second fsync would succeed, and say nothing of the pages that the first one lost
        with pytest.raises(UnavailableError) as caught:
            await accept(store)
        assert caught.value.reason == "STORE_UNAVAILABLE"
    assert store.load(tokens[0]) is not None
    await reopened(tmp_path, tokens)


async def test_g11_a_corrupt_database_stops_the_store_and_is_said_to_be_damaged(store: SqliteStore, faults: SqliteFaults) -> None:
    found: list[Damage] = []
    store.set_on_damage(found.append)
    await accept(store)
    faults.plan(Call.WRITE, apsw.SQLITE_CORRUPT)
    with pytest.raises(UnavailableError):
        await accept(store)
    await wait_until_async(lambda: found, "it is said")
    faults.heal()
    with pytest.raises(UnavailableError):
        await accept(store)
    assert len(found) == 1, "it is said once"


async def test_g11_a_read_that_fails_answers_unavailable(store: SqliteStore, faults: SqliteFaults, tmp_path: Path) -> None:
    token = (await accept(store)).token
    fresh = apsw.Connection(str(tmp_path / "t.db"), flags=apsw.SQLITE_OPEN_READONLY)
    store._reading, kept = fresh, store._reading  # one without a cache
    faults.plan(Call.READ, apsw.SQLITE_IOERR_READ)
    with pytest.raises(UnavailableError) as caught:
        store.load(token)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    faults.heal()
    assert store.load(token) is not None
    store._reading = kept
    fresh.close()


async def test_g11_a_full_disk_is_said_and_the_ballast_comes_back(faults: SqliteFaults, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t.db", ProtoCodec(), ballast_bytes=2**20)
    try:
        ballast = tmp_path / "ballast"
        assert ballast.stat().st_size == 2**20
        task = await accept(store)
        faults.plan(Call.WRITE, apsw.SQLITE_FULL)
        with pytest.raises(LimitError) as caught:
            await store.commit([acceptance(some_task())])
        assert caught.value.reason == "DISK_FULL"
        assert caught.value.retry_after_seconds
        faults.heal()
        assert (await accept(store)).token  # there is room again
        assert ballast.stat().st_size == 2**20
        assert store.load(task.token) is not None
    finally:
        faults.heal()
        await store.close()
