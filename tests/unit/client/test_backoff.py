from __future__ import annotations

from taskmeter.client.backoff import FIRST_SECONDS, MAX_BROKEN, MAX_SECONDS, Backoff, Reconnect
from taskmeter.client.failure import broken, unreachable
from taskmeter.errors import NotFoundError


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


def test_the_first_connection_must_succeed_by_itself_unless_the_daemon_was_reached_before():
    error = unreachable("unix:/nowhere")
    assert Reconnect().delay_seconds(error, reached=False) is None
    assert Reconnect().delay_seconds(error, reached=True) is not None


def test_what_was_refused_is_final():
    assert Reconnect().delay_seconds(NotFoundError("no"), reached=True) is None


def test_connections_that_always_break_before_they_carry_anything_are_given_up():
    reconnect = Reconnect()
    delays = [reconnect.delay_seconds(broken("reset"), reached=True) for _ in range(MAX_BROKEN)]
    assert None not in delays[:-1]
    assert delays[-1] is None
    reconnect.progress()
    assert reconnect.delay_seconds(broken("reset"), reached=True) is not None
