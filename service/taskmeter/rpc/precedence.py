"""Calls that end work go first: while one is under way, the fan-out wakes no further streams, for a few milliseconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable

from taskmeter.core.rates import ENDS_WORK

ARRIVAL_SECONDS = 0.005
"""So long after its name the message of a call has come, or is not waited for: whoever sends none holds nobody up."""


class Precedence:
    """Knows whether such a call is under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open_count = 0
        self._expected_until = 0.0

    def expect(self, path: str) -> None:
        """A call has arrived, as far as its name; its handler runs once its message is there."""
        if path in ENDS_WORK:
            self._expected_until = self._clock() + ARRIVAL_SECONDS

    def __enter__(self) -> None:
        self._open_count += 1
        self._expected_until = 0.0

    def __exit__(self, *_: object) -> None:
        self._open_count -= 1

    @property
    def claimed(self) -> bool:
        """A call that ends work is under way."""
        return self._open_count > 0 or (self._expected_until > 0.0 and self._clock() < self._expected_until)
