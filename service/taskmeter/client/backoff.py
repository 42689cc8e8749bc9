"""Whether to connect again after a stream has lost its connection, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable

from taskmeter.client.failure import may_reconnect
from taskmeter.errors import TaskmeterError

FIRST_SECONDS = 0.05
"""A restarting daemon serves again in about 0.3 s: the first attempts must not sleep past that."""
MAX_SECONDS = 5.0
GROWTH = 2.0
MAX_BROKEN = 20
"""So many connections in a row that carried nothing and broke for no stated reason: the fault is not the network."""


class Backoff:
    """Exponential delays with half of each left to chance, so that many clients do not come back at the same instant."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._ceiling_seconds = FIRST_SECONDS

    def next_seconds(self, at_least: float | None = None) -> float:
        """Return the next delay; `at_least` is what the daemon asked for in RetryInfo."""
        delay = self._ceiling_seconds * (0.5 + 0.5 * self._draw())
        self._ceiling_seconds = min(self._ceiling_seconds * GROWTH, MAX_SECONDS)
        return max(delay, at_least or 0.0)

    def reset(self) -> None:
        """Start over: the connection carried something."""
        self._ceiling_seconds = FIRST_SECONDS


class Reconnect:
    """Decides for one stream: its first connection must succeed by itself, unless the daemon was reached before."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._backoff = Backoff(draw)
        self._broken_count = 0

    def progress(self) -> None:
        """Start over: the connection carried something."""
        self._backoff.reset()
        self._broken_count = 0

    def delay_seconds(self, error: TaskmeterError, *, reached: bool) -> float | None:
        """Return how long to wait before connecting again; None means that the error is final.

        Args:
            reached: the daemon has answered this client at least once.
        """
        self._broken_count += error.reason == "CONNECTION_BROKEN"
        if not reached or not may_reconnect(error) or self._broken_count >= MAX_BROKEN:
            return None
        return self._backoff.next_seconds(error.retry_after_seconds)
