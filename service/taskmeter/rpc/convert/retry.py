"""RetryPolicy: from the wire, checked, and to its stored form."""

from __future__ import annotations

import math

from taskmeter.model.retry import MAY_BE_RETRIED, RetryPolicy
from taskmeter.model.state import Outcome
from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import task_pb2

MAX_RETRIES = 1_000_000
MAX_BACKOFF = 1000.0
MAX_EXIT_CODE = 255
MAX_EXIT_CODES = 256


def check_retry(checks: Checks, message: task_pb2.RetryPolicy) -> None:
    """Note what is wrong with `spec.retry`; a policy that is not set is fine."""
    checks.count("spec.retry.max_retries", message.max_retries, most=MAX_RETRIES)
    checks.seconds("spec.retry.delay_seconds", message.delay_seconds)
    checks.seconds("spec.retry.max_delay_seconds", message.max_delay_seconds)
    if not math.isfinite(message.backoff) or not 0 <= message.backoff <= MAX_BACKOFF:
        checks.add("spec.retry.backoff", f"must be from 0 to {MAX_BACKOFF:g}")
    for number in map(int, message.retry_on):
        if number not in MAY_BE_RETRIED:
            known = ", ".join(sorted(outcome.name for outcome in MAY_BE_RETRIED))
            checks.add("spec.retry.retry_on", f"cannot hold {_name(number)}; it may hold {known}")
    if len(message.retry_on_exit_codes) > MAX_EXIT_CODES:
        checks.add("spec.retry.retry_on_exit_codes", f"has more than {MAX_EXIT_CODES} codes")
    elif not all(0 < code <= MAX_EXIT_CODE for code in message.retry_on_exit_codes):
        checks.add("spec.retry.retry_on_exit_codes", f"must be from 1 to {MAX_EXIT_CODE}")


def _name(number: int) -> str:
    return Outcome(number).name if number in set(Outcome) else str(number)


def retry_policy(message: task_pb2.RetryPolicy) -> RetryPolicy | None:
    """Convert a policy; None if it retries nothing."""
    if not message.max_retries:
        return None
    return RetryPolicy(
        max_retries=message.max_retries,
        delay_seconds=message.delay_seconds,
        backoff=message.backoff or 1.0,
        max_delay_seconds=message.max_delay_seconds,
        retry_on=tuple(sorted({Outcome(number) for number in message.retry_on})),
        retry_on_exit_codes=tuple(sorted(set(message.retry_on_exit_codes))),
    )


def fill_retry(message: task_pb2.RetryPolicy, policy: RetryPolicy) -> None:
    """Set every field, in one order: equal policies give equal bytes."""
    message.max_retries = policy.max_retries
    message.delay_seconds = policy.delay_seconds
    message.backoff = policy.backoff
    message.max_delay_seconds = policy.max_delay_seconds
    message.retry_on.extend(int(outcome) for outcome in policy.retry_on)  # type: ignore[misc]  # same numbers
    message.retry_on_exit_codes.extend(policy.retry_on_exit_codes)
