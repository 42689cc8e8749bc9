"""Every failpoint, three times, under load: what was acknowledged stays, nothing starts twice, nothing is left behind."""

from __future__ import annotations

import pytest

from taskmeter.failpoints import IN_SHIM, NAMES
from tests.faults.scenarios import failpoint
from tests.faults.size import new_seed


@pytest.mark.slow
@pytest.mark.guarantee("G1", "G2", "G3", "G5", "G6", "G7", "G8", "G9", "G11", "G13")
@pytest.mark.parametrize("point", [*NAMES, *IN_SHIM])
def test_all_guarantees_hold_around_each_failpoint(point: str) -> None:
    result = failpoint(new_seed(), 3, point)
    print(result)
    assert result.violations == {}, str(result)
