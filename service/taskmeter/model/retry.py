"""When an attempt is followed by another without being asked, and how long the task waits in between."""

from __future__ import annotations

from msgspec import Struct

from taskmeter.model.state import Outcome

DEFAULT_RETRY_ON = frozenset({Outcome.FAILED, Outcome.SIGNALED, Outcome.OOM_KILLED, Outcome.TIMED_OUT, Outcome.FAILED_TO_START})
"""Outcomes that a policy retries that names none. LOST is not among them: it may have done its work (guarantee G3)."""

MAY_BE_RETRIED = DEFAULT_RETRY_ON | {Outcome.INTERRUPTED, Outcome.LOST, Outcome.IDLE_EXPIRED}
"""Outcomes that a policy may name: never success, and never what somebody asked for."""

MAX_DELAY_SECONDS = 10 * 365 * 86400.0
"""No wait is longer, however often a factor was put on it."""


class RetryPolicy(Struct, frozen=True, gc=False):
    """When and how often a task is tried again; field meanings are those of `taskmeter.v1.RetryPolicy`."""

    max_retries: int = 0
    delay_seconds: float = 0.0
    backoff: float = 1.0
    """Factor on the wait after each retry."""
    max_delay_seconds: float = 0.0
    """0 = no bound."""
    retry_on: tuple[Outcome, ...] = ()
    """Empty = `DEFAULT_RETRY_ON`."""
    retry_on_exit_codes: tuple[int, ...] = ()
    """Of the FAILED attempts only those with one of these codes; empty = all."""

    def wants(self, outcome: Outcome, exit_code: int, retries_used: int) -> bool:
        """Tell whether an attempt that ended so is tried again after `retries_used` retries."""
        if retries_used >= self.max_retries or outcome not in (self.retry_on or DEFAULT_RETRY_ON):
            return False
        return outcome is not Outcome.FAILED or not self.retry_on_exit_codes or exit_code in self.retry_on_exit_codes

    def delay_before(self, retry: int) -> float:
        """Return the seconds to wait before the retry number `retry`, from 1."""
        longest = min(self.max_delay_seconds or MAX_DELAY_SECONDS, MAX_DELAY_SECONDS)
        try:
            return min(self.delay_seconds * self.backoff ** (retry - 1), longest)
        except OverflowError:
            return longest if self.delay_seconds else 0.0


class Wait(Struct, frozen=True, gc=False):
    """A wait between two attempts. It is measured by the clock that nobody sets; the wall clock serves only after a reboot."""

    due_time: float
    """When it is over, in Unix seconds as of when it began."""
    due_clock_seconds: float
    """When it is over, on CLOCK_BOOTTIME of the boot `boot_id`."""
    boot_id: str
    delay_seconds: float
    """Its whole length."""
    retry: int
    """Number of the retry it is before, from 1; 0 = none: the attempt was interrupted and runs again."""
    reason: str
    """The sentence that says why the attempt before ended."""

    def left_seconds(self, clock_seconds: float) -> float:
        """Return what is left of it at `clock_seconds` of the boot it counts in."""
        return max(0.0, self.due_clock_seconds - clock_seconds)

    def moved_to(self, boot_id: str, clock_seconds: float, now: float) -> Wait:
        """Return the same wait on the clock of this boot.

        After a reboot the wall clock tells how much has passed; if it was set back meanwhile, the whole wait begins anew at most.
        """
        if boot_id == self.boot_id:
            return self
        left = min(max(0.0, self.due_time - now), self.delay_seconds)
        return Wait(now + left, clock_seconds + left, boot_id, self.delay_seconds, self.retry, self.reason)


def begin_wait(delay_seconds: float, *, now: float, clock_seconds: float, boot_id: str, retry: int, reason: str) -> Wait:
    """Return a wait of `delay_seconds` that begins now."""
    return Wait(now + delay_seconds, clock_seconds + delay_seconds, boot_id, delay_seconds, retry, reason)
