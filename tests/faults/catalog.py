"""Every scenario by name: what it runs, and how many faults its figure is promised for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from taskmeter.failpoints import IN_SHIM, NAMES
from tests.faults.by_tests import run_tests
from tests.faults.database_faults import database
from tests.faults.result import Result
from tests.faults.scenarios import clock_jumps, failpoint, kills, stopped, victims

POINTS = tuple(f"failpoint:{point}" for point in (*NAMES, *IN_SHIM) if not point.startswith("ingest."))
"""Those of the ingest are reached by work that reports: test_items_kill9.py."""
KILLS_PER_RIG = 100
"""A new store now and then: the judges read all of it."""

Run = Callable[..., Result]
"""Called with seed, count and the daemon's options."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`count`: the size that the figure is promised for. `what` is said by `--list`."""

    run: Run
    count: int
    what: str


def _kills(seed: int, count: int, *options: str) -> Result:
    total = Result("kills", seed, count, options)
    for begin in range(0, count, KILLS_PER_RIG):
        total.add(kills(seed + begin, min(KILLS_PER_RIG, count - begin), *options))
        print(f"  … {total.fault_count} kills, {total.task_count} tasks, {total.violation_count} violations", flush=True)
    return total


def _failpoint(point: str, seed: int, count: int, *options: str) -> Result:
    return failpoint(seed, count, point, *options)


def _tests(name: str, *paths: str) -> Run:
    def run(seed: int, count: int, *_options: str) -> Result:
        return run_tests(name, seed, count, *paths)

    return run


CATALOG: dict[str, Scenario] = {
    "kills": Scenario(_kills, 1000, "kill -9 of the daemon at any moment, under load"),
    **{name: Scenario(partial(_failpoint, name.partition(":")[2]), 100, "armed under load") for name in POINTS},
    "victims": Scenario(victims, 1000, "kill -9 of supervisors, main processes and members"),
    "items": Scenario(
        _tests("items", "test_items_kill9.py"),
        1_000_000,
        "events that work reports while daemon and writers are killed",
    ),
    "hostile_trees": Scenario(
        _tests("hostile_trees", "test_hostile_trees.py"), 1000, "trees that do everything to survive a stop"
    ),
    "malformed": Scenario(_tests("malformed", "test_malformed.py"), 10_000, "requests that nobody should send"),
    "clock_jumps": Scenario(clock_jumps, 300, "the wall clock set by a second to ten years"),
    "power_cuts": Scenario(
        _tests("power_cuts", "test_power_cut.py", "test_power_cut_disk.py"), 100, "a model of files, and a disk"
    ),
    "pid_reuse": Scenario(_tests("pid_reuse", "test_pid_reuse.py"), 100, "trees killed while their pids come round"),
    "sqlite": Scenario(
        _tests("sqlite", "test_sqlite_faults.py"), 400, "the store alone: BUSY, IOERR, FULL, CORRUPT, done and then failed"
    ),
    "database": Scenario(database, 160, "the same in a whole daemon under load"),
    "stalled": Scenario(_tests("stalled", "test_stalled_subscribers.py"), 1000, "subscribers that do not read"),
    "stopped_subscriber": Scenario(
        _tests("stopped_subscriber", "test_stopped_subscriber.py"), 1, "SIGSTOP of a subscriber, in time and for too long"
    ),
    "reconnects": Scenario(
        _tests("reconnects", "test_reconnects.py"), 1000, "streams cut at any moment; daemons killed under streams"
    ),
    "storm": Scenario(_tests("storm", "test_reconnect_storm.py"), 1000, "streams that all lose their connection, three times"),
    "http2": Scenario(_tests("http2", "test_http2_abuse.py"), 12, "abuses of HTTP/2, each for so many fifths of a second"),
    "disks": Scenario(_tests("disks", "test_disk_full.py", "test_read_only.py"), 1, "full, bounded, read-only"),
    "descriptors": Scenario(_tests("descriptors", "test_descriptors.py"), 1, "none left"),
    "lost": Scenario(
        _tests("lost", "test_store_lost.py", "test_recovery.py", "test_shim_killed.py", "test_double_launch.py"),
        1,
        "databases, supervisors and both; second launches",
    ),
    "stopped": Scenario(stopped, 30, "SIGSTOP of the daemon, for so many seconds"),
}
"""In the order in which they begin; the long ones first, so that the others fill the second core."""


def expand(names: list[str]) -> list[str]:
    """Replace `failpoints` by each of them. Raises `KeyError` for a name that is not in the catalog."""
    found: list[str] = []
    for name in names or ["kills", "failpoints", *(each for each in CATALOG if each not in {"kills", *POINTS})]:
        found += POINTS if name == "failpoints" else [name]
    for name in found:
        CATALOG[name]
    return found
