"""Why a task waits, in words."""

from __future__ import annotations

from taskmeter.model.task import Task


def explain_wait(task: Task, clock_seconds: float, otherwise: str) -> str:
    """Return why a task in NONE has not started as of `clock_seconds` on CLOCK_BOOTTIME.

    "retry 1 of 3 in 4.2 s (exited with code 3)", and once that is over "retry 1 of 3, waits its turn (exited …)".
    `otherwise` is what a task that is due waits for.
    """
    wait = task.wait
    if wait is None:
        return otherwise
    most = task.spec.retry.max_retries if task.spec.retry else 0
    what = f"retry {wait.retry} of {most}" if wait.retry else "to run again"
    left = wait.left_seconds(clock_seconds)
    when = f" in {left:.1f} s" if left else f", {otherwise}"
    return f"{what}{when} ({wait.reason})"
