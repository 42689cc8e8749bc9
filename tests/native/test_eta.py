"""When the work will be done, and whether it stalls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.eta import Eta

SECOND = 10**9


def test_nothing_before_three_samples_and_two_seconds() -> None:
    eta = Eta()
    eta.update(SECOND, 0)
    for n in range(1, 4):
        assert eta.remaining(SECOND + n * 100_000_000, 100) is None
        eta.update(SECOND + n * 100_000_000, n)
    assert eta.remaining(SECOND + 1_900_000_000, 100) is None
    eta.update(3 * SECOND, 4)
    assert eta.remaining(3 * SECOND, 100) is not None


def test_steady_work_has_a_narrow_band_around_the_truth() -> None:
    eta = Eta()
    for n in range(100):
        eta.update(SECOND + n * SECOND // 2, 2 * n)
    remaining = eta.remaining(SECOND + 99 * SECOND // 2, 1000)
    assert remaining is not None
    assert remaining == pytest.approx(((1000 - 198) / 4,) * 3)


def test_uneven_work_has_a_band_that_contains_the_estimate() -> None:
    eta = Eta()
    done = 0
    for n in range(200):
        done += 10 if n < 100 else 1
        eta.update(SECOND + n * SECOND, done)
    remaining = eta.remaining(200 * SECOND, 5000)
    assert remaining is not None
    now, low, high = remaining
    assert low < now <= high
    assert low == pytest.approx((5000 - done) / ((done - 10) / 199), rel=0.01)  # the overall mean
    assert high == pytest.approx(5000 - done, rel=0.05)  # what it does now


def test_done_is_zero_seconds() -> None:
    eta = Eta()
    eta.update(SECOND, 10)
    assert eta.remaining(SECOND, 10) == (0.0, 0.0, 0.0)


def test_a_stall_has_no_estimate_and_ends_with_the_next_item() -> None:
    eta = Eta()
    for n in range(10):
        eta.update(SECOND + n * SECOND // 2, n)
    last = SECOND + 9 * SECOND // 2
    assert not eta.is_stalled(last + 10 * SECOND)
    assert eta.is_stalled(last + 11 * SECOND)
    assert eta.remaining(last + 11 * SECOND, 100) is None
    eta.update(last + 11 * SECOND, 10)
    assert eta.remaining(last + 11 * SECOND, 100) is not None


def test_slow_items_are_no_stall() -> None:
    eta = Eta()
    for n in range(5):
        eta.update(SECOND + n * 60 * SECOND, n)
    assert not eta.is_stalled(SECOND + (4 * 60 + 500) * SECOND)
    assert eta.is_stalled(SECOND + (4 * 60 + 601) * SECOND)


def test_work_that_begins_anew_is_estimated_anew() -> None:
    eta = Eta()
    for n in range(10):
        eta.update(SECOND + n * SECOND, n * 100)
    eta.update(11 * SECOND, 0)
    assert eta.remaining(11 * SECOND, 1000) is None


@given(steps=st.lists(st.tuples(st.integers(1, 5 * SECOND), st.integers(0, 1000)), min_size=1, max_size=60))
def test_the_band_always_contains_the_estimate(steps: list[tuple[int, int]]) -> None:
    eta = Eta()
    now, done = SECOND, 0
    eta.update(now, done)
    for span, more in steps:
        now += span
        done += more
        eta.update(now, done)
        remaining = eta.remaining(now, 10**6)
        if remaining is not None:
            seconds, low, high = remaining
            assert 0 <= low <= seconds <= high
            assert math.isfinite(high)


def test_slow_items_have_a_steady_estimate_between_them() -> None:
    eta = Eta()
    for n in range(6):
        for tick in range(60):
            now = SECOND + (60 * n + tick) * SECOND
            eta.update(now, n)
            if n >= 4:
                remaining = eta.remaining(now, 20)
                assert remaining is not None
                assert remaining[0] == pytest.approx((20 - n) * 60)


def test_an_overdue_item_widens_the_band_upwards() -> None:
    eta = Eta()
    for n in range(31):
        eta.update(SECOND + n * SECOND, n)
    fresh = eta.remaining(31 * SECOND, 100)
    late = eta.remaining(40 * SECOND, 100)
    assert fresh is not None and late is not None
    assert late[0] == fresh[0]
    assert late[2] == pytest.approx(9 * fresh[2])


def test_a_total_may_shrink_or_be_passed() -> None:
    eta = Eta()
    for n in range(10):
        eta.update(SECOND + n * SECOND, n)
    now = 10 * SECOND
    more, less = eta.remaining(now, 100), eta.remaining(now, 19)
    assert more is not None and less is not None
    assert more[0] == pytest.approx(91.0)
    assert less[0] == pytest.approx(10.0)
    assert eta.remaining(now, 9) == eta.remaining(now, 5) == (0.0, 0.0, 0.0)
    assert eta.remaining(now, 0) is None, "a total of 0 is one that is not known"


def test_work_done_is_no_stall_of_the_estimate() -> None:
    eta = Eta()
    for n in range(10):
        eta.update(SECOND + n * SECOND, n)
    assert eta.is_stalled(1000 * SECOND)
    assert eta.remaining(1000 * SECOND, 9) == (0.0, 0.0, 0.0)


def test_growth_within_a_millisecond_is_one_sample_and_is_done_at_once() -> None:
    eta = Eta()
    eta.update(SECOND, 0)
    for n in range(1, 4):
        eta.update(SECOND + n * SECOND, 10 * n - 5)
        eta.update(SECOND + n * SECOND + 10, 10 * n)
    remaining = eta.remaining(4 * SECOND + 10, 100)
    assert remaining is not None
    assert remaining == pytest.approx((7.0,) * 3, rel=0.5), "no interval of 10 ns makes a rate of 5e8"
    assert eta.remaining(4 * SECOND + 10, 30) == (0.0, 0.0, 0.0)


def test_time_that_goes_back_counts_nothing_twice() -> None:
    eta = Eta()
    for n in range(5):
        eta.update(10 * SECOND + n * SECOND, 10 * n)
    eta.update(9 * SECOND, 50)
    eta.update(9 * SECOND, 50)
    eta.update(15 * SECOND, 50)
    remaining = eta.remaining(15 * SECOND, 100)
    assert remaining is not None
    assert remaining == pytest.approx((5.0,) * 3)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_is_done_and_the_total_are_numbers(value: float) -> None:
    eta = Eta()
    with pytest.raises(ValueError, match="done"):
        eta.update(SECOND, value)
    with pytest.raises(ValueError, match="total"):
        eta.remaining(SECOND, value)


def test_work_that_never_began_is_not_stalled() -> None:
    eta = Eta()
    assert not eta.is_stalled(SECOND)
    eta.update(SECOND, 5)
    assert not eta.is_stalled(10_000 * SECOND)


@given(
    steps=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(0, 1e300)), max_size=60),
    total=st.floats(0, 1e300),
)
def test_any_times_and_amounts_give_an_ordered_finite_band_or_none(steps: list[tuple[int, float]], total: float) -> None:
    eta = Eta()
    for now, done in steps:
        eta.update(now, done)
        for later in (0, now, 2**64 - 1):
            remaining = eta.remaining(later, total)
            if remaining is not None:
                seconds, low, high = remaining
                assert 0.0 <= low <= seconds <= high < math.inf
            eta.is_stalled(later)


@given(gap_ms=st.integers(1, 100_000), count=st.integers(1, 200), quiet_ms=st.integers(0, 2_000_000))
def test_a_stall_is_ten_seconds_and_ten_mean_gaps(gap_ms: int, count: int, quiet_ms: int) -> None:
    eta = Eta()
    for n in range(count + 1):
        eta.update(SECOND + n * gap_ms * 10**6, n)
    last = SECOND + count * gap_ms * 10**6
    edge = max(10_000, 10 * gap_ms)
    if quiet_ms != edge:  # there a double decides
        assert eta.is_stalled(last + quiet_ms * 10**6) is (quiet_ms > edge)
