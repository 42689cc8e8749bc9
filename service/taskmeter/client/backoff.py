"""How long to wait before the next attempt to reconnect."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 0.05
"""A restarting daemon serves again in about 0.3 s: the first attempts must not sleep past that."""
MAX_SECONDS = 5.0
GROWTH = 2.0


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
