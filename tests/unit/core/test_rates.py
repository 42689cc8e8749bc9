"""How often a key may call, by a clock that the test sets."""

from __future__ import annotations

import pytest

from taskmeter.core.rates import Bucket, Rates
from taskmeter.errors import LimitError
from taskmeter.model.key import Key, Rate, Scope


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(bucket: Bucket) -> int:
    """Call until it is refused; return how often that went."""
    for count in range(1_000_000):
        try:
            bucket.take()
        except LimitError:
            return count
    raise AssertionError("it is never refused")


@pytest.mark.parametrize(
    ("rate", "burst"), [(Rate(10.0), 10), (Rate(0.5), 1), (Rate(2.5), 3), (Rate(7.0, 100), 100), (Rate(0.001, 3), 3)]
)
def test_a_burst_goes_through_and_then_the_rate_holds(clock: Clock, rate: Rate, burst: int) -> None:
    bucket = Bucket(rate, clock)
    assert taken(bucket) == burst
    clock.now += 1.0 / rate.calls_per_second
    assert taken(bucket) == 1
    clock.now += 1000.0 * burst / rate.calls_per_second
    assert taken(bucket) == burst, "no more is saved up than a burst"


def test_a_refusal_says_for_how_long_to_wait_and_does_not_count(clock: Clock) -> None:
    bucket = Bucket(Rate(4.0, 2), clock)
    taken(bucket)
    for _ in range(3):
        with pytest.raises(LimitError) as caught:
            bucket.take()
        assert caught.value.reason == "RATE_LIMITED"
        assert caught.value.retry_after_seconds == pytest.approx(0.25)
        assert caught.value.metadata == {"calls_per_second": "4", "burst": "2"}
    clock.now += 0.25
    bucket.take()


def test_over_a_minute_no_more_than_the_rate_and_one_burst_go_through(clock: Clock) -> None:
    bucket, count = Bucket(Rate(30.0, 5), clock), 0
    for _ in range(6000):
        clock.now += 0.01
        count += taken(bucket)
    assert 30 * 60 <= count <= 30 * 60 + 5


def test_refusals_are_noted_once_a_second(clock: Clock) -> None:
    bucket = Bucket(Rate(1.0), clock)
    assert [bucket.worth_a_note() for _ in range(3)] == [True, False, False]
    clock.now += 1.0
    assert bucket.worth_a_note()


def test_the_default_is_for_keys_without_a_rate_of_their_own_but_not_for_the_admin_key() -> None:
    rates = Rates(Rate(5.0))
    plain = Key("plain", "default", frozenset(Scope), b"")
    own = Key("own", "default", frozenset(Scope), b"", rate=Rate(9.0))
    assert rates.of(plain, is_admin_key=True) is None
    found = rates.of(plain, is_admin_key=False)
    assert found is not None and [bucket.rate for bucket in found] == [Rate(5.0)] * 2 and found[0] is not found[1]
    assert rates.of(plain, is_admin_key=False) == found, "the same buckets after another key was made"
    assert {bucket.rate for bucket in rates.of(own, is_admin_key=False) or ()} == {Rate(9.0)}
    assert Rates().of(plain, is_admin_key=False) is None
    rates.forget_all_but(frozenset({"own"}))
    assert rates.of(plain, is_admin_key=False) != found
