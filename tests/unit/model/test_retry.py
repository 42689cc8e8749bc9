"""What is retried, and how long the wait is: by which clock, too."""

from __future__ import annotations

import pytest

from taskmeter.model.retry import DEFAULT_RETRY_ON, MAX_DELAY_SECONDS, MAY_BE_RETRIED, RetryPolicy, begin_wait
from taskmeter.model.state import Outcome


def test_g3_what_may_have_done_its_work_is_retried_only_when_asked() -> None:
    usual = RetryPolicy(max_retries=1)
    assert {outcome for outcome in Outcome if usual.wants(outcome, 1, 0)} == DEFAULT_RETRY_ON
    assert not DEFAULT_RETRY_ON & {Outcome.LOST, Outcome.INTERRUPTED, Outcome.SUCCEEDED, Outcome.CANCELLED}
    assert RetryPolicy(max_retries=1, retry_on=(Outcome.LOST,)).wants(Outcome.LOST, -1, 0)
    assert not MAY_BE_RETRIED & {Outcome.UNSPECIFIED, Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.DEPENDENCY_FAILED}


def test_exit_codes_choose_among_failures_and_nothing_else() -> None:
    policy = RetryPolicy(max_retries=1, retry_on_exit_codes=(75,))
    assert policy.wants(Outcome.FAILED, 75, 0)
    assert not policy.wants(Outcome.FAILED, 1, 0)
    assert policy.wants(Outcome.SIGNALED, -9, 0)


def test_the_number_of_retries_is_a_bound() -> None:
    policy = RetryPolicy(max_retries=2)
    assert [policy.wants(Outcome.FAILED, 1, used) for used in range(4)] == [True, True, False, False]
    assert not RetryPolicy().wants(Outcome.FAILED, 1, 0)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(9), [0.0, 0.0, 0.0]),
        (RetryPolicy(9, delay_seconds=5), [5.0, 5.0, 5.0]),
        (RetryPolicy(9, delay_seconds=5, backoff=2), [5.0, 10.0, 20.0]),
        (RetryPolicy(9, delay_seconds=5, backoff=2, max_delay_seconds=12), [5.0, 10.0, 12.0]),
        (RetryPolicy(9, delay_seconds=8, backoff=0.5), [8.0, 4.0, 2.0]),
    ],
)
def test_the_wait_grows_by_its_factor_up_to_its_bound(policy: RetryPolicy, delays: list[float]) -> None:
    assert [policy.delay_before(retry) for retry in (1, 2, 3)] == delays


def test_a_wait_has_a_bound_however_often_it_was_multiplied() -> None:
    assert RetryPolicy(10**6, delay_seconds=1, backoff=1000).delay_before(10**6) == MAX_DELAY_SECONDS
    assert RetryPolicy(10**6, delay_seconds=1, backoff=1000, max_delay_seconds=60).delay_before(10**6) == 60
    assert RetryPolicy(10**6, delay_seconds=0, backoff=1000).delay_before(10**6) == 0


def test_a_wait_ignores_the_wall_clock_while_the_host_runs() -> None:
    wait = begin_wait(60.0, now=1000.0, clock_seconds=50.0, boot_id="a", retry=1, reason="r")
    assert wait.left_seconds(80.0) == 30.0
    assert wait.left_seconds(500.0) == 0.0
    for jumped in (-1e9, 1000.0, 1e9):
        assert wait.moved_to("a", 80.0, jumped).left_seconds(80.0) == 30.0


@pytest.mark.parametrize(("now", "left"), [(1020.0, 40.0), (1060.0, 0.0), (1e9, 0.0), (1000.0, 60.0), (-1e9, 60.0)])
def test_after_a_reboot_the_wall_clock_tells_what_is_left_and_never_more_than_the_whole_wait(now: float, left: float) -> None:
    wait = begin_wait(60.0, now=1000.0, clock_seconds=50.0, boot_id="a", retry=2, reason="r").moved_to("b", 7.0, now)
    assert (wait.left_seconds(7.0), wait.boot_id, wait.retry, wait.reason) == (left, "b", 2, "r")
