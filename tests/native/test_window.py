"""The rate over the last seconds, against all that was ever put in."""

from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.window import RateWindow

SECOND = 10**9
SLICES = 31


class Model:
    """Keep everything: the running total at each update, in between by straight lines."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.totals: list[int] = []

    def update(self, now: int, amount: int) -> None:
        if not self.times:
            self.times, self.totals = [now], [0]
            return
        self.times.append(max(now, self.times[-1]))
        self.totals.append(self.totals[-1] + amount)

    def total(self, at: int) -> Fraction:
        """The running total at a time, the later one where it jumps."""
        n = bisect_right(self.times, at)
        if n == 0:
            return Fraction(0)
        if n == len(self.times):
            return Fraction(self.totals[-1])
        span = self.times[n] - self.times[n - 1]
        return self.totals[n - 1] + Fraction((self.totals[n] - self.totals[n - 1]) * (at - self.times[n - 1]), span)

    def amount(self, now: int, span: int) -> Fraction:
        return self.total(now) - self.total(now - span)

    def longest(self) -> int:
        return max((b - a for a, b in pairwise(self.times)), default=0)


def test_a_steady_rate_is_exact_before_and_after_the_window_is_full() -> None:
    window = RateWindow(10.0)
    for tick in range(1, 1000):
        window.update(tick * SECOND // 20, 3)
        if tick > 1:
            assert window.per_second(tick * SECOND // 20) == pytest.approx(60.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = RateWindow(10.0)
    window.update(SECOND, 0)
    window.update(2 * SECOND, 500)
    assert window.amount(11 * SECOND) == 500
    assert window.amount(11 * SECOND + SECOND // 2) == pytest.approx(250)
    assert window.amount(12 * SECOND) == 0.0
    assert window.per_second(10**6 * SECOND) == 0.0


def test_the_first_update_only_sets_the_clock() -> None:
    window = RateWindow(10.0)
    assert window.amount(SECOND) == window.per_second(SECOND) == 0.0
    window.update(SECOND, 99)
    window.update(2 * SECOND, 5)
    assert window.amount(2 * SECOND) == 5


def test_the_first_millisecond_has_no_rate() -> None:
    window = RateWindow(10.0)
    window.update(SECOND, 0)
    window.update(SECOND + 999_999, 5)
    assert window.per_second(SECOND + 999_999) == 0.0
    assert window.per_second(SECOND + 10**6) == pytest.approx(5000.0)


def test_time_that_goes_back_counts_as_the_last() -> None:
    window = RateWindow(10.0)
    window.update(5 * SECOND, 0)
    window.update(6 * SECOND, 10)
    window.update(4 * SECOND, 10)
    assert window.amount(1 * SECOND) == window.amount(6 * SECOND) == 20


def test_more_than_sixty_four_bits_in_one_window_are_cut_and_pass() -> None:
    window = RateWindow(10.0)
    for second in range(1, 10):
        window.update(second * SECOND, 2**63)
    assert window.amount(9 * SECOND) == float(2**64 - 1)
    window.update(100 * SECOND, 0)
    window.update(101 * SECOND, 2**63)
    assert window.amount(101 * SECOND) == float(2**63)


@pytest.mark.parametrize("span", [0.0, -1.0, math.nan, math.inf, 1e-4, 1e10])
def test_a_span_is_a_time(span: float) -> None:
    with pytest.raises(ValueError, match="span_seconds"):
        RateWindow(span)


@given(
    steps=st.lists(st.tuples(st.integers(SECOND // SLICES + 1, 3 * SECOND), st.integers(0, 2**40)), min_size=1, max_size=200),
    later=st.integers(0, 3 * SECOND),
)
def test_intervals_longer_than_a_slice_lose_nothing(steps: list[tuple[int, int]], later: int) -> None:
    window, model = RateWindow(1.0), Model()
    now = 5 * SECOND
    for span, amount in steps:
        now += span
        window.update(now, amount)
        model.update(now, amount)
        # The totals are exact; three operations on doubles give the part at the edge.
        assert window.amount(now) == pytest.approx(float(model.amount(now, SECOND)), rel=1e-14, abs=1e-4)
    assert window.amount(now + later) == pytest.approx(float(model.amount(now + later, SECOND)), rel=1e-14, abs=1e-4)


@given(
    steps=st.lists(
        st.tuples(st.integers(-SECOND // 100, SECOND // 100) | st.integers(0, 2 * SECOND), st.integers(0, 2**40)), min_size=1
    ),
    repeat=st.integers(1, 20),
    later=st.integers(0, 2 * SECOND),
)
def test_merged_intervals_err_by_less_than_what_is_in_the_one_at_the_edge(
    steps: list[tuple[int, int]], repeat: int, later: int
) -> None:
    window, model = RateWindow(1.0), Model()
    now = 5 * SECOND
    for span, amount in steps * repeat:
        now += span
        window.update(now, amount)
        model.update(now, amount)
    reach = max(SECOND // SLICES, model.longest())
    for at in (model.times[-1], model.times[-1] + later):
        low = model.total(at) - model.total(at - SECOND + reach)
        high = model.total(at) - model.total(at - SECOND - reach - 1)
        assert float(low) * (1 - 1e-14) - 1e-3 <= window.amount(at) <= float(high) * (1 + 1e-14) + 1e-3
