"""G1: what was acknowledged is there after a power cut at any moment, and the database is whole."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from tests.daemon import Daemon
from tests.faults.powercut import cut, read_record
from tests.faults.preload import build_library
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import start
from tests.waiting import wait_until

CUT_COUNT = wanted_count(100)
TASK_COUNT = 300
CLIENT_COUNT = 4


@pytest.mark.slow
@pytest.mark.guarantee("G1")
def test_g1_a_hundred_power_cuts_lose_nothing_that_was_acknowledged(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = new_seed()
    print(f"seed {seed}, {CUT_COUNT} cuts, {TASK_COUNT} tasks")
    library, record = build_library("record", tmp_path), tmp_path / "record"
    acknowledged: list[tuple[int, str]] = []
    with Daemon(env={"LD_PRELOAD": str(library), "TEST_RECORD_FILE": str(record)}) as daemon:

        def submit(number: int) -> None:
            token = start(daemon.calls, "true", metadata={"filler": "x" * 4000})
            acknowledged.append((record.stat().st_size, token))  # what was on disk when the answer came, and perhaps more

        with ThreadPoolExecutor(CLIENT_COUNT) as pool:
            list(pool.map(submit, range(TASK_COUNT)))
        wait_until(lambda: daemon.calls.GetServerInfo().running_count == 0, "all have ended", 60)
    operations = read_record(record)
    assert len(operations) > TASK_COUNT
    chance = random.Random(seed)
    record_property("faults", CUT_COUNT)
    for number in range(CUT_COUNT):
        count = chance.randrange(1, len(operations) + 1)
        disk = tmp_path / "disk"
        cut(operations[:count], chance, disk)
        missing, sound = judge(disk, {token for size, token in acknowledged if size <= operations[count - 1].end_bytes})
        assert (missing, sound) == (set(), "ok"), f"cut {number} after {count} of {len(operations)} operations, seed {seed}"
        shutil.rmtree(disk)


def judge(disk: Path, acknowledged: set[str]) -> tuple[set[str], str]:
    """Open what is left as a starting daemon would; return the acknowledged tasks that are missing, and SQLite's verdict."""
    path = disk / "taskmeter.db"
    if not path.exists():
        return acknowledged, "ok"
    database = apsw.Connection(str(path))
    try:
        if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tasks'").fetchone():
            return acknowledged, "ok"
        found = {row[0] for row in database.execute("SELECT token FROM tasks")}
        return acknowledged - found, str(database.execute("PRAGMA integrity_check").get)
    finally:
        database.close()
