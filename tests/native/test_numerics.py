"""Rates, peaks and integrals, against exact models in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.eta import Eta
from metercore.peak import Peak
from metercore.rate import Rate
from metercore.tokens import Tokens

SECOND = 10**9

spans_ns = st.lists(st.integers(1, 100 * SECOND), min_size=1, max_size=50)


class TestRate:
    def test_a_steady_rate_is_exact_from_the_first_interval(self) -> None:
        rate = Rate()
        assert rate.per_second == 0.0
        for tick in range(50):
            rate.update(SECOND + tick * 100_000_000, 3.0)
            if tick:
                assert rate.per_second == pytest.approx(30.0)

    def test_it_decays_to_zero_when_nothing_happens(self) -> None:
        rate = Rate()
        for tick in range(100):
            rate.update(SECOND + tick * 100_000_000, 10.0)
        before = rate.per_second
        rate.update(SECOND + 15 * SECOND, 0.0)
        assert rate.per_second < before / 2
        rate.update(SECOND + 100 * SECOND, 0.0)
        assert rate.per_second == 0.0

    def test_a_rate_below_one_in_two_hundred_seconds_is_zero(self) -> None:
        rate = Rate()
        rate.update(SECOND, 0.0)
        rate.update(301 * SECOND, 1.0)
        assert rate.per_second == 0.0

    def test_intervals_under_a_millisecond_merge_into_the_next(self) -> None:
        rate = Rate()
        rate.update(SECOND, 0.0)
        rate.update(SECOND + 999_999, 50.0)
        assert rate.per_second == 0.0
        rate.update(2 * SECOND, 50.0)
        assert rate.per_second == pytest.approx(100.0)

    @given(steps=st.lists(st.tuples(st.integers(1_000_000, 60 * SECOND), st.integers(0, 10**6)), min_size=1, max_size=60))
    def test_it_is_the_debiased_recursion(self, steps: list[tuple[int, int]]) -> None:
        rate = Rate(5.0)
        now = SECOND
        rate.update(now, 0.0)
        value = weight = Fraction(0)
        for span, amount in steps:
            now += span
            rate.update(now, amount)
            alpha = 1 - Fraction(math.exp(-span / (5.0 * SECOND)))
            value += alpha * (Fraction(amount * SECOND, span) - value)
            weight += alpha * (1 - weight)
        exact = float(value / weight)
        if exact > 0.0051:
            assert rate.per_second == pytest.approx(exact, rel=1e-6)
        elif exact < 0.0049:
            assert rate.per_second == 0.0

    @given(spans=spans_ns)
    def test_any_intervals_of_a_constant_rate_give_that_rate(self, spans: list[int]) -> None:
        rate = Rate()
        now = SECOND
        rate.update(now, 0.0)
        for span in spans:
            now += span
            rate.update(now, span * 7 / SECOND)
        if now >= SECOND + 1_000_000:
            assert rate.per_second == pytest.approx(7.0, rel=1e-6)

    def test_time_that_goes_back_counts_as_no_time(self) -> None:
        rate = Rate()
        rate.update(5 * SECOND, 0.0)
        rate.update(4 * SECOND, 10.0)
        assert rate.per_second == 0.0
        rate.update(6 * SECOND, 0.0)
        assert rate.per_second == pytest.approx(10.0)

    @pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
    def test_a_time_constant_is_positive(self, tau: float) -> None:
        with pytest.raises(ValueError, match="tau"):
            Rate(tau)


class TestPeak:
    def test_windows_under_100_ms_merge(self) -> None:
        peak = Peak()
        assert not peak.update(SECOND, 0)
        assert not peak.update(SECOND + 50_000_000, 90_000_000)  # 1.8 cores over 50 ms: tick noise
        assert peak.update(SECOND + 100_000_000, 100_000_000)
        assert peak.cores == peak.peak_cores == pytest.approx(1.0)

    def test_the_peak_stays_when_use_falls(self) -> None:
        peak = Peak()
        for second, total in enumerate([0, 2, 3, 3]):
            peak.update(SECOND * (second + 1), total * SECOND)
        assert peak.cores == 0.0
        assert peak.peak_cores == pytest.approx(2.0)

    def test_a_gap_shows_but_makes_no_peak(self) -> None:
        peak = Peak()
        peak.update(SECOND, 0)
        peak.update(2 * SECOND, 3 * SECOND, gap=True)
        assert peak.cores == pytest.approx(3.0)
        assert peak.peak_cores == 0.0

    def test_a_total_that_falls_is_no_use_and_never_negative(self) -> None:
        peak = Peak()
        peak.update(SECOND, 10 * SECOND)
        peak.update(2 * SECOND, 5 * SECOND)
        assert peak.cores == 0.0

    def test_more_than_the_machine_has_is_cut(self) -> None:
        peak = Peak(most_cores=2.0)
        peak.update(SECOND, 0)
        peak.update(2 * SECOND, 5 * SECOND)
        assert peak.peak_cores == 2.0

    @given(steps=st.lists(st.tuples(st.integers(1, SECOND), st.integers(0, 4 * SECOND)), min_size=1, max_size=60))
    def test_the_peak_is_at_least_the_average_over_closed_windows(self, steps: list[tuple[int, int]]) -> None:
        peak = Peak()
        now, total, closed = SECOND, 0, 0.0
        peak.update(now, total)
        for span, used in steps:
            now += span
            total += used
            if peak.update(now, total):
                closed = total / (now - SECOND)
        assert peak.peak_cores >= closed * (1 - 1e-9)


class TestTokens:
    @given(samples=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**63)), min_size=1, max_size=40))
    def test_the_integral_is_exact(self, samples: list[tuple[int, int]]) -> None:
        tokens = Tokens()
        exact = Fraction(0)
        now = last = 0
        for step, (span, memory) in enumerate(samples):
            before, now = now, min(now + span, 2**63)
            tokens.update(now, memory)
            if step:
                exact += Fraction((last + memory) * (now - before), 2)
            last = memory
        assert tokens.byte_ns2 == 2 * exact
        assert tokens.byte_seconds == pytest.approx(float(exact / SECOND))

    def test_years_of_terabytes_lose_nothing(self) -> None:
        tokens = Tokens()
        year = 365 * 86400 * SECOND
        tokens.update(0, 2**50)
        tokens.update(100 * year, 2**50)
        tokens.update(100 * year + 1, 2**50)
        assert tokens.byte_ns2 == 2 * 2**50 * (100 * year + 1)

    def test_a_gap_holds_the_last_value(self) -> None:
        tokens = Tokens()
        tokens.update(0, 100)
        tokens.hold(10 * SECOND)
        tokens.update(10 * SECOND, 900)
        assert tokens.byte_ns2 == 2 * 100 * 10 * SECOND

    def test_time_that_goes_back_adds_nothing(self) -> None:
        tokens = Tokens()
        tokens.update(5 * SECOND, 100)
        tokens.update(4 * SECOND, 100)
        assert tokens.byte_ns2 == 0
        tokens.update(6 * SECOND, 100)
        assert tokens.byte_ns2 == 200 * SECOND


class TestEta:
    def test_nothing_before_three_samples_and_two_seconds(self) -> None:
        eta = Eta()
        eta.update(SECOND, 0)
        for n in range(1, 4):
            assert eta.remaining(SECOND + n * 100_000_000, 100) is None
            eta.update(SECOND + n * 100_000_000, n)
        assert eta.remaining(SECOND + 1_900_000_000, 100) is None
        eta.update(3 * SECOND, 4)
        assert eta.remaining(3 * SECOND, 100) is not None

    def test_steady_work_has_a_narrow_band_around_the_truth(self) -> None:
        eta = Eta()
        for n in range(100):
            eta.update(SECOND + n * SECOND // 2, 2 * n)
        remaining = eta.remaining(SECOND + 99 * SECOND // 2, 1000)
        assert remaining is not None
        assert remaining == pytest.approx(((1000 - 198) / 4,) * 3)

    def test_uneven_work_has_a_band_that_contains_the_estimate(self) -> None:
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

    def test_done_is_zero_seconds(self) -> None:
        eta = Eta()
        eta.update(SECOND, 10)
        assert eta.remaining(SECOND, 10) == (0.0, 0.0, 0.0)

    def test_a_stall_has_no_estimate_and_ends_with_the_next_item(self) -> None:
        eta = Eta()
        for n in range(10):
            eta.update(SECOND + n * SECOND // 2, n)
        last = SECOND + 9 * SECOND // 2
        assert not eta.is_stalled(last + 10 * SECOND)
        assert eta.is_stalled(last + 11 * SECOND)
        assert eta.remaining(last + 11 * SECOND, 100) is None
        eta.update(last + 11 * SECOND, 10)
        assert eta.remaining(last + 11 * SECOND, 100) is not None

    def test_slow_items_are_no_stall(self) -> None:
        eta = Eta()
        for n in range(5):
            eta.update(SECOND + n * 60 * SECOND, n)
        assert not eta.is_stalled(SECOND + (4 * 60 + 500) * SECOND)
        assert eta.is_stalled(SECOND + (4 * 60 + 601) * SECOND)

    def test_work_that_begins_anew_is_estimated_anew(self) -> None:
        eta = Eta()
        for n in range(10):
            eta.update(SECOND + n * SECOND, n * 100)
        eta.update(11 * SECOND, 0)
        assert eta.remaining(11 * SECOND, 1000) is None

    @given(steps=st.lists(st.tuples(st.integers(1, 5 * SECOND), st.integers(0, 1000)), min_size=1, max_size=60))
    def test_the_band_always_contains_the_estimate(self, steps: list[tuple[int, int]]) -> None:
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
