"""The highest value of late, against all values with their times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.epochs import WindowPeak

SECOND = 10**9


def test_two_readers_see_the_same() -> None:
    peak = WindowPeak(10.0)
    peak.update(SECOND, 7.0)
    peak.update(2 * SECOND, 3.0)
    assert [peak.highest(3 * SECOND) for _ in range(2)] == [7.0, 7.0]
    assert [peak.highest(30 * SECOND), peak.highest(3 * SECOND)] == [None, 7.0]


def test_without_values_there_is_no_peak() -> None:
    peak = WindowPeak(10.0)
    assert peak.highest(SECOND) is None
    peak.update(SECOND, -2.0)
    assert peak.highest(SECOND) == -2.0
    assert peak.highest(2**64 - 1) is None


def test_after_a_silence_the_epochs_begin_anew() -> None:
    peak = WindowPeak(10.0)
    peak.update(SECOND, 7.0)
    peak.update(1009 * SECOND, 2.0)
    assert peak.highest(1028 * SECOND) == 2.0
    assert peak.highest(1029 * SECOND) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_is_a_number(value: float) -> None:
    with pytest.raises(ValueError, match="value"):
        WindowPeak().update(SECOND, value)


@pytest.mark.parametrize("span", [0.0, -1.0, math.nan, 1e10])
def test_a_span_is_a_time(span: float) -> None:
    with pytest.raises(ValueError, match="span_seconds"):
        WindowPeak(span)


@given(
    steps=st.lists(st.tuples(st.integers(0, 3 * SECOND), st.floats(-1e300, 1e300)), min_size=1, max_size=80),
    later=st.integers(0, 3 * SECOND),
    start=st.sampled_from([0, SECOND, 2**63]),
)
def test_it_covers_at_least_one_span_and_less_than_two(steps: list[tuple[int, float]], later: int, start: int) -> None:
    peak = WindowPeak(1.0)
    now = start
    seen: list[tuple[int, float]] = []
    for span, value in steps:
        now += span
        peak.update(now, value)
        seen.append((now, value))
        for at in (now, now + later):
            highest = peak.highest(at)
            must = [each for time, each in seen if time > at - SECOND]
            may = [each for time, each in seen if time > at - 2 * SECOND]
            assert highest is None or highest in may
            assert not must or (highest is not None and highest >= max(must))


@given(steps=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(-1e300, 1e300)), max_size=80))
def test_whatever_the_clock_does_the_latest_value_counts(steps: list[tuple[int, float]]) -> None:
    peak = WindowPeak(1.0)
    for now, value in steps:
        peak.update(now, value)
        highest = peak.highest(now)
        assert highest is not None and highest >= value
