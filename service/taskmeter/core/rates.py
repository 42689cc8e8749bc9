"""How often a key may call: two buckets per key, one for what ends work and one for all else.

A bucket is one number, the generic cell rate algorithm's theoretical arrival time (ITU-T I.371, A.2): the time by which the calls
made so far would have arrived, had they come evenly. Buckets live in memory only, so a daemon that starts begins with full ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from taskmeter.errors import LimitError
from taskmeter.model.key import Key, Rate

ENDS_WORK = frozenset(
    {
        "/taskmeter.v1.TaskService/Terminate",
        "/taskmeter.v1.TaskService/TerminateTasks",
        "/taskmeter.v1.QueueService/PauseQueue",
        "/taskmeter.v1.AdminService/RevokeKey",
        "/taskmeter.v1.AdminService/Drain",
    }
)
"""Whoever has used up their calls by polling or submitting can still stop what they began."""
NOTE_SECONDS = 1.0
"""Refusals of a bucket are noted in the audit log once in so long: they must not push everything else out of it."""


class Bucket:
    """Lets `rate.calls_per_second` calls through on average, and `rate.burst` at once after a pause."""

    __slots__ = ("_burst", "_clock", "_due", "_interval", "_last_note", "_slack", "rate")

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._burst = rate.burst
        self._interval = 1.0 / rate.calls_per_second
        self._slack = self._interval * (self._burst - 1) + 1e-9  # the sum of many intervals is not their product
        self._due = -math.inf
        self._last_note = -math.inf

    def take(self) -> None:
        """Count a call. Raises `LimitError` RATE_LIMITED that says how long to wait, and then it does not count."""
        now = self._clock()
        due = self._due
        if due <= now:
            self._due = now + self._interval
        elif due - now <= self._slack:
            self._due = due + self._interval
        else:
            self._refuse(due - now - self._slack)

    def worth_a_note(self) -> bool:
        """Tell whether a refusal is the first for some time."""
        now = self._clock()
        if now - self._last_note < NOTE_SECONDS:
            return False
        self._last_note = now
        return True

    def _refuse(self, seconds: float) -> None:
        limit = self.rate.calls_per_second
        raise LimitError(
            f"this key may call {limit:g} times a second, and {self._burst} times at once",
            reason="RATE_LIMITED",
            hint="call less often: WaitTask and StreamEvents tell what changes without being asked again",
            metadata={"calls_per_second": f"{limit:g}", "burst": str(self._burst)},
            retry_after_seconds=seconds,
        )


class Rates:
    """The buckets of all keys that have a rate."""

    def __init__(self, default: Rate | None = None) -> None:
        """Take the rate of keys that have none of their own; the admin key has none in any case."""
        self._default = default
        self._buckets: dict[str, tuple[Rate, Bucket, Bucket]] = {}

    def of(self, key: Key, *, is_admin_key: bool) -> tuple[Bucket, Bucket] | None:
        """Return the buckets of a key, (for what ends work, for all else); None if nothing limits it."""
        rate = key.rate if key.rate is not None or is_admin_key else self._default
        if rate is None:
            return None
        found = self._buckets.get(key.key_id)
        if found is None or found[0] != rate:
            found = self._buckets[key.key_id] = (rate, Bucket(rate), Bucket(rate))
        return found[1], found[2]

    def unlisted(self) -> tuple[Bucket, Bucket] | None:
        """Return new buckets of the default rate, for a key that is in no list: whoever keeps them counts with them."""
        return (Bucket(self._default), Bucket(self._default)) if self._default is not None else None

    def forget_all_but(self, key_ids: frozenset[str]) -> None:
        """Drop the buckets of keys that are gone."""
        for key_id in self._buckets.keys() - key_ids:
            del self._buckets[key_id]
