from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmeter.cli import human


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1024, "1.00 KiB"), (1_267_000, "1.21 MiB"),
        (222 * 2**20, "222 MiB"), (1000 * 2**20, "0.98 GiB"), (5 * 2**40, "5.00 TiB"), (None, "–"),
    ],
)  # fmt: skip
def test_bytes(value, text):
    assert human.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (-1, "0 ms"), (0.0421, "42 ms"), (0.9999, "1.00 s"), (1.234, "1.23 s"), (12.34, "12.3 s"),
        (59.97, "1 m 00 s"), (187, "3 m 07 s"), (3599.6, "1 h 00 m"), (7500, "2 h 05 m"), (273600, "3 d 04 h"), (None, "–"),
    ],
)  # fmt: skip
def test_spans(seconds, text):
    assert human.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"), (-1, "0 µs"), (0.000105, "105 µs"), (0.0009996, "1.00 ms"), (0.00421, "4.21 ms"), (0.0421, "42.1 ms"),
        (0.421, "421 ms"), (0.9999, "1.00 s"), (61, "1 m 01 s"), (None, "–"),
    ],
)  # fmt: skip
def test_times_of_calls(seconds, text):
    assert human.brief(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.9, "0:07"), (723, "12:03"), (3723, "1:02:03")])
def test_clocks(seconds, text):
    assert human.clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.000001, "<0.00001"), (0.0001234, "0.00012"), (0.05, "0.05"), (0.5, "0.50"), (0.999, "1.00"),
        (13.456, "13.46"), (1234.5, "1,234"), (None, "–"),
    ],
)  # fmt: skip
def test_tokens(value, text):
    assert human.tokens(value) == text


def test_a_hundred_tokens_are_one_of_currency():
    assert human.money(150) == "1.50"


@pytest.mark.parametrize(("value", "text"), [(0, "0 GiB·h"), (2**30 * 3600 * 2, "2.00 GiB·h"), (2**20 * 12.5, "12.50 MiB·s")])
def test_byte_seconds(value, text):
    assert human.byte_seconds(value) == text


@given(st.floats(0, 1e15))
def test_no_quantity_is_shown_as_nothing_or_with_an_exponent(value):
    for text in (human.size(value), human.span(value), human.tokens(value), human.rate(value), human.byte_seconds(value)):
        assert text
        assert "e+" not in text
        assert "e-" not in text
    assert human.tokens(value) == "0" or value > 0 or math.isclose(value, 0)


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.50/s"), (12.34, "12.3/s"), (1234.4, "1,234/s"), (None, "–")])
def test_rates(value, text):
    assert human.rate(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s ago"), (61, "1 m ago"), (7300, "2 h ago"), (200000, "2 d ago")])
def test_ages(seconds, text):
    assert human.ago(1000, 1000 + seconds) == text


def test_what_has_not_come_is_not_a_time():
    assert human.instant(0) == human.ago(0, 5) == "–"
