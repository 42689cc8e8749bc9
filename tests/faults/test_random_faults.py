"""Faults at random moments under load; see scenarios.py. A failure prints the seed and the command that does it again."""

from __future__ import annotations

import pytest

from tests.faults.result import Result
from tests.faults.scenarios import clock_jumps, kills, stopped, victims
from tests.faults.size import new_seed

KILL_COUNT = 100
VICTIM_COUNT = 100
STOPPED_SECONDS = 6.0
"""`make faults` takes the 30 s that are promised."""
JUMP_COUNT = 30


def check(result: Result) -> None:
    print(result)
    assert result.violations == {}, str(result)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.guarantee("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G13")
def test_a_hundred_random_kills_of_the_daemon_lose_nothing() -> None:
    check(kills(new_seed(), KILL_COUNT))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.guarantee("G3", "G6", "G9")
@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_killed_supervisors_and_members_leave_no_process_and_no_second_start(cgroup: str) -> None:
    check(victims(new_seed(), VICTIM_COUNT, "--cgroup", cgroup))


@pytest.mark.slow
@pytest.mark.guarantee("G4", "G8", "G11")
def test_a_daemon_that_was_stopped_for_a_while_goes_on_where_it_was() -> None:
    check(stopped(new_seed(), STOPPED_SECONDS))


@pytest.mark.slow
@pytest.mark.guarantee("G1", "G7", "G9")
def test_jumps_of_the_wall_clock_change_nothing() -> None:
    check(clock_jumps(new_seed(), JUMP_COUNT))
