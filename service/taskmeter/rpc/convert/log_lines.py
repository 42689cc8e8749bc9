"""The log of a task's work as lines of text, all attempts one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from taskmeter.model.item import LogLine

MOST_LOGS = 1000
MOST_BYTES = 1_500_000
"""Of all lines; an answer has to fit into 2 MB."""


def log_lines(lines: Sequence[LogLine], attempt: int) -> list[str]:
    """Return "YYYY-MM-DDTHH:MM:SS message" (UTC) for each line, and "--- Retry N ---" where an attempt begins, newest last.

    `lines` are the newest ones, `attempt` is the task's newest. Where older lines are no longer kept, so is where they began.
    """
    found: list[str] = []
    before = lines[0].attempt if len(lines) == MOST_LOGS else 0
    for line in lines:
        found += _retries(before, line.attempt)
        before = max(before, line.attempt)
        found.append(f"{datetime.fromtimestamp(line.time, UTC):%Y-%m-%dT%H:%M:%S} {line.text}")
    found += _retries(before, attempt)
    size_bytes = 0
    for index in range(len(found) - 1, -1, -1):
        size_bytes += len(found[index].encode()) + 4
        if size_bytes > MOST_BYTES:
            return found[index + 1 :]
    return found[-MOST_LOGS:]


def _retries(before: int, attempt: int) -> list[str]:
    return [f"--- Retry {number} ---" for number in range(max(before + 1, attempt - MOST_LOGS), attempt + 1)]
