from __future__ import annotations

from taskmeter.client.backoff import FIRST_SECONDS, MAX_SECONDS, Backoff


def test_delays_grow_to_a_bound_and_start_over_after_a_success():
    backoff = Backoff(draw=lambda: 1.0)
    delays = [backoff.next_seconds() for _ in range(12)]
    assert delays[0] == FIRST_SECONDS
    assert delays == sorted(delays)
    assert delays[-1] == MAX_SECONDS
    backoff.reset()
    assert backoff.next_seconds() == FIRST_SECONDS


def test_half_of_a_delay_is_left_to_chance():
    assert Backoff(draw=lambda: 0.0).next_seconds() == FIRST_SECONDS / 2


def test_the_daemon_can_ask_for_more():
    assert Backoff(draw=lambda: 0.0).next_seconds(at_least=3.0) == 3.0
