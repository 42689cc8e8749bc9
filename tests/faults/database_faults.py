"""A whole daemon under load whose database fails: full, unreadable, unsynced, locked, or done and only said to have failed."""

from __future__ import annotations

import errno
import random
import sqlite3
import struct
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.faults.preload import build_library
from tests.faults.result import Result
from tests.faults.rig import Rig
from tests.faults.scenarios import conclude
from tests.waiting import wait_until

READ, WRITE, SYNC, TRUNCATE, BUSY = range(1, 6)
"""The first four as in `enum call` of sqlite_faults.c."""
_PLAN = struct.Struct("<7I")
_HITS_AT = 24
FAULT_SECONDS = (0.1, 0.6)
HIT_SECONDS = 10.0
BUSY_SECONDS = (0.2, 6.0)
"""The daemon waits 5 s for a lock before it says that the store is not available."""
RECOVERY_SECONDS = 5.0 + 5.0
"""What G11 allows, and the slack of a busy machine."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure; `error` is what the kernel says."""

    call: int
    error: int

    @property
    def name(self) -> str:
        call = {READ: "read", WRITE: "write", SYNC: "sync", TRUNCATE: "truncate", BUSY: "busy"}[self.call]
        return f"{call} {errno.errorcode.get(self.error, '')}".strip()


FAULTS = (
    Fault(WRITE, errno.ENOSPC),
    Fault(WRITE, errno.EIO),
    Fault(WRITE, errno.EDQUOT),
    Fault(WRITE, errno.EROFS),
    Fault(READ, errno.ESTALE),
    Fault(READ, errno.EIO),  # a damaged file to SQLite, until it is read again
    Fault(TRUNCATE, errno.EIO),
    Fault(SYNC, errno.EIO),
    Fault(BUSY, 0),
)


class Plan:
    """The page by which the library in the daemon is told what is to fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_PLAN.size))

    def put(self, fault: Fault, *, every: int, times: int, after: bool) -> None:
        self._write(_PLAN.pack(0, fault.error, every, times, after, 0, 0))
        self._write(struct.pack("<I", fault.call))  # last: it arms the rest

    def heal(self) -> None:
        self._write(struct.pack("<I", 0))

    @property
    def hits(self) -> int:
        return int(struct.unpack_from("<I", self.path.read_bytes(), _HITS_AT)[0])

    def _write(self, data: bytes) -> None:
        with self.path.open("r+b", buffering=0) as file:
            file.write(data)


def database(seed: int, count: int, *options: str) -> Result:
    """Make the database fail `count` times in turns of every kind; after each, work goes on within 5 s by itself."""
    chance = random.Random(seed)
    hit_count = 0
    with tempfile.TemporaryDirectory(prefix="tm-database-", dir="/tmp") as directory:
        library = build_library("sqlite_faults", Path(directory))
        plan = Plan(Path(directory, "plan"))
        env = {"LD_PRELOAD": str(library), "TEST_SQLITE_FAULTS": str(plan.path)}
        with Rig(seed, *options, env=env) as rig:
            rig.load(clients=2, watchers=1)
            for number in range(count):
                fault = FAULTS[number % len(FAULTS)]
                hit_count += _busy(rig, chance) if fault.call == BUSY else _fail(plan, chance, fault)
                if fault.call == SYNC:  # nothing more is acknowledged by this process: the next one goes on
                    rig.restart()
                _goes_on(rig, fault)
            return conclude(rig, "database", count, hit_count)


def _fail(plan: Plan, chance: random.Random, fault: Fault) -> int:
    times = 1 if fault.call == SYNC else chance.randint(1, 20)
    plan.put(fault, every=chance.randint(1, 4), times=times, after=chance.random() < 0.5)
    with suppress(AssertionError):  # a load that is all in memory reads nothing, one without checkpoints truncates nothing
        wait_until(lambda: plan.hits, fault.name, 0.5 if fault.call in {READ, TRUNCATE} else HIT_SECONDS)
    threading.Event().wait(chance.uniform(*FAULT_SECONDS))
    plan.heal()
    return plan.hits


def _busy(rig: Rig, chance: random.Random) -> int:
    other = sqlite3.connect(rig.daemon.state_dir / "taskmeter.db", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    threading.Event().wait(chance.uniform(*BUSY_SECONDS))
    other.execute("ROLLBACK")
    other.close()
    return 1


def _goes_on(rig: Rig, fault: Fault) -> None:
    def head_seq() -> int:
        try:
            return int(rig.daemon.calls.GetServerInfo(timeout=5).head_seq)
        except grpc.RpcError:
            return 0

    before = wait_until(head_seq, f"it answers after {fault.name}", RECOVERY_SECONDS)
    wait_until(lambda: head_seq() > before, f"it works on after {fault.name}", RECOVERY_SECONDS)
