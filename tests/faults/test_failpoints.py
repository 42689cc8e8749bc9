"""Every failpoint, three times, under load: what was acknowledged stays, nothing starts twice, nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from taskmeter.failpoints import IN_SHIM, NAMES
from tests.faults.result import Result
from tests.faults.scenarios import failpoint
from tests.faults.size import new_seed

COUNT = 3
AT_ONCE = 4
"""Rigs beside each other: most of their time is waiting."""
POINTS = tuple(point for point in (*NAMES, *IN_SHIM) if not point.startswith("ingest."))
"""Those of the ingest are reached by work that reports: test_items_kill9.py."""

Running = dict[str, Future[Result]]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Begin with all failpoints whose tests were chosen."""
    items = [item for item in request.session.items if item.path == request.path]
    points = [item.callspec.params["point"] for item in items if hasattr(item, "callspec")]
    seed = new_seed()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {point: pool.submit(failpoint, seed, COUNT, point) for point in points}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.guarantee("G1", "G2", "G3", "G5", "G6", "G7", "G8", "G9", "G11", "G13")
@pytest.mark.parametrize("point", POINTS)
def test_all_guarantees_hold_around_each_failpoint(running: Running, point: str) -> None:
    result = running[point].result()
    print(result)
    assert result.violations == {}, str(result)
