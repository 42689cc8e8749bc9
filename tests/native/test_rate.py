"""The averaged rate, against its recursion in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.rate import Rate

SECOND = 10**9

spans_ns = st.lists(st.integers(1, 100 * SECOND), min_size=1, max_size=50)


def test_a_steady_rate_is_exact_from_the_first_interval() -> None:
    rate = Rate()
    assert rate.per_second == 0.0
    for tick in range(50):
        rate.update(SECOND + tick * 100_000_000, 3.0)
        if tick:
            assert rate.per_second == pytest.approx(30.0)


def test_it_decays_to_zero_when_nothing_happens() -> None:
    rate = Rate()
    for tick in range(100):
        rate.update(SECOND + tick * 100_000_000, 10.0)
    before = rate.per_second
    rate.update(SECOND + 15 * SECOND, 0.0)
    assert rate.per_second < before / 2
    rate.update(SECOND + 100 * SECOND, 0.0)
    assert rate.per_second == 0.0


def test_a_rate_below_one_in_two_hundred_seconds_is_zero() -> None:
    rate = Rate()
    rate.update(SECOND, 0.0)
    rate.update(301 * SECOND, 1.0)
    assert rate.per_second == 0.0


def test_intervals_under_a_millisecond_merge_into_the_next() -> None:
    rate = Rate()
    rate.update(SECOND, 0.0)
    rate.update(SECOND + 999_999, 50.0)
    assert rate.per_second == 0.0
    rate.update(2 * SECOND, 50.0)
    assert rate.per_second == pytest.approx(100.0)


@given(steps=st.lists(st.tuples(st.integers(1_000_000, 60 * SECOND), st.integers(0, 10**6)), min_size=1, max_size=60))
def test_it_is_the_debiased_recursion(steps: list[tuple[int, int]]) -> None:
    rate = Rate(5.0)
    now = SECOND
    rate.update(now, 0.0)
    value = weight = Fraction(0)
    for span, amount in steps:
        now += span
        rate.update(now, amount)
        alpha = Fraction(-math.expm1(-span / (5.0 * SECOND)))
        value += alpha * (Fraction(amount * SECOND, span) - value)
        weight += alpha * (1 - weight)
    exact = float(value / weight)
    if exact > 0.0051:
        # Each of 60 steps rounds by a few 1e-16 of the larger of two rates, which decays by exp(12) at most in a step.
        assert rate.per_second == pytest.approx(exact, rel=1e-8)
    elif exact < 0.0049:
        assert rate.per_second == 0.0


@given(spans=spans_ns)
def test_any_intervals_of_a_constant_rate_give_that_rate(spans: list[int]) -> None:
    rate = Rate()
    now = SECOND
    rate.update(now, 0.0)
    for span in spans:
        now += span
        rate.update(now, span * 7 / SECOND)
    if now >= SECOND + 1_000_000:
        assert rate.per_second == pytest.approx(7.0, rel=1e-6)


def test_time_that_goes_back_counts_as_no_time() -> None:
    rate = Rate()
    rate.update(5 * SECOND, 0.0)
    rate.update(4 * SECOND, 10.0)
    assert rate.per_second == 0.0
    rate.update(6 * SECOND, 0.0)
    assert rate.per_second == pytest.approx(10.0)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf, 1e-4])
def test_a_time_constant_is_a_time(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        Rate(tau)


@pytest.mark.parametrize("amount", [-1.0, -1e-300, math.nan, math.inf, 2.0**65])
def test_an_amount_is_what_a_counter_can_grow_by(amount: float) -> None:
    rate = Rate()
    rate.update(SECOND, 0.0)
    with pytest.raises(ValueError, match="amount"):
        rate.update(2 * SECOND, amount)
    rate.update(2 * SECOND, 5.0)
    assert rate.per_second == pytest.approx(5.0)


def test_asking_for_later_is_as_an_update_with_nothing_and_changes_nothing() -> None:
    rate = Rate()
    for second in range(1, 11):
        rate.update(second * SECOND, 40.0)
    later = rate.at(17 * SECOND)
    assert rate.per_second == pytest.approx(40.0)
    rate.update(17 * SECOND, 0.0)
    assert later == rate.per_second


def test_a_rate_never_asked_to_begin_is_zero() -> None:
    assert Rate().at(2**64 - 1) == 0.0


@given(
    steps=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(0, 2.0**64)), max_size=60),
    tau=st.floats(1e-3, 1e9),
)
def test_any_times_and_amounts_give_a_rate_between_zero_and_the_highest_possible(
    steps: list[tuple[int, float]], tau: float
) -> None:
    rate = Rate(tau)
    total = 0.0
    for now, amount in steps:
        rate.update(now, amount)
        total += amount
        for each in (rate.per_second, rate.at(now), rate.at(2**64 - 1)):
            assert 0.0 <= each <= total / 1e-3 * (1 + 1e-9)


def test_a_decay_over_years_ends_at_nothing() -> None:
    rate = Rate()
    rate.update(SECOND, 0.0)
    rate.update(2 * SECOND, 2.0**64)
    for hour in range(1, 10_000):
        rate.update(2 * SECOND + hour * 3600 * SECOND, 0.0)
    assert rate.per_second == 0.0
    rate.update(2 * SECOND + 10_000 * 3600 * SECOND, 36_000.0)
    assert rate.per_second == pytest.approx(10.0)
