"""Faults at random moments under load; see scenarios.py. A failure prints the seed and the command that does it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.database_faults import FAULTS, database
from tests.faults.result import Result
from tests.faults.scenarios import clock_jumps, kills, stopped, victims
from tests.faults.size import new_seed

KILL_COUNT = 50
"""With cgroups and without; together the 100 of CI."""
VICTIM_COUNT = 60
STOPPED_SECONDS = 6.0
"""`make faults` takes the 30 s that are promised."""
JUMP_COUNT = 20
DATABASE_COUNT = 2 * len(FAULTS)
AT_ONCE = 3
"""Rigs beside each other: most of their time is waiting."""

SCENARIOS: dict[str, Callable[[int], Result]] = {
    "kills": lambda seed: kills(seed, KILL_COUNT),
    "kills without cgroups": lambda seed: kills(seed, KILL_COUNT, "--cgroup", "off"),
    "victims": lambda seed: victims(seed, VICTIM_COUNT),
    "victims without cgroups": lambda seed: victims(seed, VICTIM_COUNT, "--cgroup", "off"),
    "stopped": lambda seed: stopped(seed, STOPPED_SECONDS),
    "clock jumps": lambda seed: clock_jumps(seed, JUMP_COUNT),
    "database": lambda seed: database(seed, DATABASE_COUNT),
}

Outcome = Callable[[str], None]


@pytest.fixture(scope="module")
def holds(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """Begin with all scenarios, or with those whose tests were chosen one by one when they are asked for."""
    seed = new_seed()
    running: dict[str, Future[Result]] = {}

    def check(name: str) -> None:
        future = running.get(name) or pool.submit(SCENARIOS[name], seed)
        result = future.result()
        print(result)
        assert result.violations == {}, str(result)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        if sum(item.path == request.path for item in request.session.items) == len(SCENARIOS):
            running.update((name, pool.submit(run, seed)) for name, run in SCENARIOS.items())
        yield check


cgroups = pytest.mark.parametrize("cgroups", ["", " without cgroups"], ids=["auto", "off"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.guarantee("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G11", "G13")
@cgroups
def test_random_kills_of_the_daemon_lose_nothing(holds: Outcome, cgroups: str) -> None:
    holds(f"kills{cgroups}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.guarantee("G3", "G6", "G9")
@cgroups
def test_killed_supervisors_and_members_leave_no_process_and_no_second_start(holds: Outcome, cgroups: str) -> None:
    holds(f"victims{cgroups}")


@pytest.mark.slow
@pytest.mark.guarantee("G4", "G8", "G11")
def test_a_daemon_that_was_stopped_for_a_while_goes_on_where_it_was(holds: Outcome) -> None:
    holds("stopped")


@pytest.mark.slow
@pytest.mark.guarantee("G1", "G7", "G9")
def test_jumps_of_the_wall_clock_change_nothing(holds: Outcome) -> None:
    holds("clock jumps")


@pytest.mark.slow
@pytest.mark.guarantee("G1", "G4", "G8", "G11")
def test_a_database_that_fails_in_every_way_costs_no_task_and_no_event(holds: Outcome) -> None:
    holds("database")
