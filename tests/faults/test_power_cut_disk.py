"""G1 on a real file system that loses what it had not put on disk: what was acknowledged is there.

It is shut down without writing its journal first (FS_IOC_SHUTDOWN), mounted again, which replays what the journal has, and the
next daemon serves on it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import grpc
import pytest

from tests import processes
from tests.daemon import Daemon
from tests.faults.disk import Disk
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import start

CUT_COUNT = wanted_count(5)
CLIENT_COUNT = 4
SERVE_SECONDS = (0.02, 0.5)
DISK_BYTES = 256 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path, DISK_BYTES)
    yield made
    made.unmount()


def submit(daemon: Daemon, acknowledged: list[str], over: threading.Event) -> None:
    """Submit until the power is cut; note what was acknowledged before."""
    calls = daemon.calls
    while not over.is_set():
        try:
            token = start(calls, "true", start_after_time=4e9)
        except (grpc.RpcError, ValueError):  # refused, or the channel is closed
            return
        if not over.is_set():  # it came before the cut began
            acknowledged.append(token)


def cut_under_load(disk: Disk, chance: random.Random) -> list[str]:
    """Serve for a moment, cut the power, mount what is left; return the tokens that were acknowledged before."""
    acknowledged: list[str] = []
    over = threading.Event()
    daemon = Daemon(state_dir=disk.path / "state")
    daemon.allow_tracebacks = True
    try:
        daemon.start()
        threads = [threading.Thread(target=submit, args=(daemon, acknowledged, over)) for _ in range(CLIENT_COUNT)]
        for thread in threads:
            thread.start()
        over.wait(chance.uniform(*SERVE_SECONDS))
        over.set()
        disk.cut_power()
        daemon.kill9()
        for thread in threads:
            thread.join()
        processes.end_all(daemon.state_dir)
        disk.unmount()
        assert disk.mount() == 0
    finally:
        daemon.close()
    return acknowledged


def tokens_in(path: Path) -> tuple[set[str], str]:
    """Return the tasks of a database, opened as the next daemon opens it, and what SQLite says of its structure."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as database:
        found = {row[0] for row in database.execute("SELECT token FROM tasks")}
        return found, str(database.execute("PRAGMA integrity_check").get)


@pytest.mark.root
@pytest.mark.guarantee("G1")
@pytest.mark.timeout(600)
def test_g1_power_cuts_of_a_file_system_lose_nothing_that_was_acknowledged(
    disk: Disk, record_property: Callable[[str, object], None]
) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    for number in range(CUT_COUNT):
        acknowledged.update(cut_under_load(disk, chance))
        path = disk.path / "state" / "taskmeter.db"
        found, sound = tokens_in(path) if path.exists() else (set(), "ok")  # cut before anything was acknowledged at all
        assert (acknowledged - found, sound) == (set(), "ok"), f"cut {number}, seed {seed}"
    print(f"{CUT_COUNT} cuts, seed {seed}, {len(acknowledged)} acknowledged, 0 lost")
    record_property("faults", CUT_COUNT)
