"""CPU use in cores and its peak."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.peak import Peak

SECOND = 10**9
WINDOW = 100_000_000


def test_windows_under_100_ms_merge() -> None:
    peak = Peak()
    assert not peak.update(SECOND, 0)
    assert not peak.update(SECOND + 50_000_000, 90_000_000)  # 1.8 cores over 50 ms: tick noise
    assert peak.update(SECOND + 100_000_000, 100_000_000)
    assert peak.cores == peak.peak_cores == pytest.approx(1.0)


def test_the_peak_stays_when_use_falls() -> None:
    peak = Peak()
    for second, total in enumerate([0, 2, 3, 3]):
        peak.update(SECOND * (second + 1), total * SECOND)
    assert peak.cores == 0.0
    assert peak.peak_cores == pytest.approx(2.0)


def test_a_gap_shows_but_makes_no_peak() -> None:
    peak = Peak()
    peak.update(SECOND, 0)
    peak.update(2 * SECOND, 3 * SECOND, gap=True)
    assert peak.cores == pytest.approx(3.0)
    assert peak.peak_cores == 0.0


def test_a_total_that_falls_is_no_use_and_never_negative() -> None:
    peak = Peak()
    peak.update(SECOND, 10 * SECOND)
    peak.update(2 * SECOND, 5 * SECOND)
    assert peak.cores == 0.0


def test_more_than_the_machine_has_is_cut() -> None:
    peak = Peak(most_cores=2.0)
    peak.update(SECOND, 0)
    peak.update(2 * SECOND, 5 * SECOND)
    assert peak.peak_cores == 2.0


@given(steps=st.lists(st.tuples(st.integers(1, SECOND), st.integers(0, 4 * SECOND)), min_size=1, max_size=60))
def test_the_peak_is_at_least_the_average_over_closed_windows(steps: list[tuple[int, int]]) -> None:
    peak = Peak()
    now, total, closed = SECOND, 0, 0.0
    peak.update(now, total)
    for span, used in steps:
        now += span
        total += used
        if peak.update(now, total):
            closed = total / (now - SECOND)
    assert peak.peak_cores >= closed * (1 - 1e-9)


def test_a_gap_within_a_window_spoils_that_window_only() -> None:
    peak = Peak()
    peak.update(SECOND, 0)
    peak.update(SECOND + WINDOW // 2, WINDOW, gap=True)
    peak.update(SECOND + WINDOW, 4 * WINDOW)
    assert peak.cores == pytest.approx(4.0)
    assert peak.peak_cores == 0.0
    peak.update(SECOND + 2 * WINDOW, 6 * WINDOW)
    assert peak.peak_cores == pytest.approx(2.0)


@pytest.mark.parametrize("most_cores", [0.0, -1.0, math.nan])
def test_a_machine_has_cores(most_cores: float) -> None:
    with pytest.raises(ValueError, match="most_cores"):
        Peak(most_cores)


@given(
    steps=st.lists(st.tuples(st.integers(-SECOND, SECOND), st.integers(-SECOND, 4 * SECOND), st.booleans()), max_size=60),
    start=st.sampled_from([SECOND * 100, 2**63, 2**64 - 100 * SECOND]),
)
def test_it_is_the_highest_closed_window_whatever_clock_and_total_do(steps: list[tuple[int, int, bool]], start: int) -> None:
    peak = Peak(most_cores=64.0)
    now, total = start, 100 * SECOND
    peak.update(now, total)
    begin, begin_total, cores, highest, gapped = now, total, Fraction(0), Fraction(0), False
    for span, used, gap in steps:
        now, total = min(now + span, 2**64 - 1), total + used
        closes = now - begin >= WINDOW
        gapped = gapped or gap
        assert peak.update(now, total, gap) is closes
        if closes:
            cores = min(max(Fraction(total - begin_total, now - begin), Fraction(0)), Fraction(64))
            highest = highest if gapped else max(highest, cores)
            begin, begin_total, gapped = now, total, False
        assert peak.cores == pytest.approx(float(cores), rel=1e-15)
        assert peak.peak_cores == pytest.approx(float(highest), rel=1e-15)
