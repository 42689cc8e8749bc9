"""The options of `run` and `submit` that say whether a task is tried again."""

from __future__ import annotations

from typing import Any

import click

from taskmeter.cli.options import SPAN
from taskmeter.model.retry import MAY_BE_RETRIED, RetryPolicy
from taskmeter.model.state import Outcome

_WORDS = {
    **{outcome.name.lower().replace("_", "-"): outcome for outcome in MAY_BE_RETRIED},
    "oom": Outcome.OOM_KILLED,
    "timeout": Outcome.TIMED_OUT,
}


class RetryOn(click.ParamType[Outcome | int]):
    """An outcome in words, or an exit code."""

    name = "outcome"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Outcome | int:
        """Return the outcome, or the code as a plain number."""
        if isinstance(value, int):
            return value
        text = str(value).lower().replace("_", "-")
        if text.isdigit() and 0 < int(text) <= 255:
            return int(text)
        if text not in _WORDS:
            self.fail(f"{value!r} is neither an exit code from 1 to 255 nor one of {', '.join(sorted(_WORDS))}", param, ctx)
        return _WORDS[text]


RETRY_OPTIONS = [
    click.option("--retries", type=click.IntRange(min=0), default=0, metavar="N", help="Try it again up to N times if it fails."),
    click.option("--retry-delay", type=SPAN, default=0.0, metavar="TIME", help="Wait so long before the first retry."),
    click.option(
        "--retry-backoff", type=float, default=1.0, metavar="FACTOR", help="Wait FACTOR times as long before each further one."
    ),
    click.option("--retry-max-delay", type=SPAN, default=0.0, metavar="TIME", help="But never longer than TIME."),
    click.option(
        "--retry-on",
        type=RetryOn(),
        multiple=True,
        metavar="OUTCOME|CODE",
        help="Only after this: failed, signaled, oom, timeout, failed-to-start, interrupted, lost, or an exit code; repeatable.",
    ),
    click.option("--requeue", is_flag=True, help="Run it again if the daemon is drained or the host restarted."),
]


def make_policy(
    *, retries: int, retry_delay: float, retry_backoff: float, retry_max_delay: float, retry_on: tuple[Outcome | int, ...]
) -> RetryPolicy | None:
    """Return what the options say; None if nothing is retried. Raises `click.UsageError` for the rest without --retries."""
    if not retries:
        if retry_delay or retry_backoff != 1.0 or retry_max_delay or retry_on:
            raise click.UsageError("--retry-delay, --retry-backoff, --retry-max-delay and --retry-on go with --retries")
        return None
    outcomes = {each for each in retry_on if isinstance(each, Outcome)}
    codes = {int(each) for each in retry_on if not isinstance(each, Outcome)}
    if codes:
        outcomes.add(Outcome.FAILED)
    return RetryPolicy(retries, retry_delay, retry_backoff, retry_max_delay, tuple(sorted(outcomes)), tuple(sorted(codes)))
