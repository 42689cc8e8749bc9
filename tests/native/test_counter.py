"""Counters that reset or wrap, against a model in plain integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.counter import Counter

MOST = 2**64 - 1


def test_a_reset_counts_nothing_and_growth_goes_on_from_it() -> None:
    counter = Counter()
    assert [counter.update(value) for value in (1000, 1010, 4, 9)] == [0, 10, 0, 5]
    assert (counter.total, counter.reset_count) == (15, 1)


def test_a_wrap_is_never_a_huge_delta() -> None:
    counter = Counter()
    counter.update(2**32 - 5)
    assert counter.update(3) == 0
    assert counter.update(2**63) == 2**63 - 3


def test_the_total_ends_at_its_most() -> None:
    counter = Counter()
    assert [counter.update(value) for value in (0, MOST, 0, 10)] == [0, MOST, 0, 0]
    assert counter.total == MOST


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_reading_has_64_bits(value: int) -> None:
    with pytest.raises(OverflowError):
        Counter().update(value)


@given(values=st.lists(st.integers(0, MOST) | st.integers(0, 100), max_size=100))
def test_deltas_are_never_negative_and_the_total_is_their_sum(values: list[int]) -> None:
    counter = Counter()
    total = resets = 0
    for n, value in enumerate(values):
        before = values[n - 1] if n else value
        exact = min(max(value - before, 0), MOST - total)
        assert counter.update(value) == exact
        total += exact
        resets += value < before
        assert (counter.total, counter.reset_count) == (total, resets)
