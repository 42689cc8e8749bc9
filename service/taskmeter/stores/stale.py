"""Changes of tasks that are not what the change was made from.

Whoever changes a task holds its lock and works on what the store has, so there are none. Should a bug make one, it is refused: a
task that moved twice from the same state would break its history (guarantee G9), and nothing could repair that.
"""

from __future__ import annotations

import logging

from taskmeter.core.ports import Change
from taskmeter.errors import NotFoundError, TaskmeterError, UnavailableError
from taskmeter.model.state import State
from taskmeter.model.task import Task

REFUSED = "a change was made from what it is not any more"
"""Said in the daemon's log."""
RETRY_AFTER_SECONDS = 0.1

log = logging.getLogger(__name__)


class StaleChangeError(ValueError):
    """A change found its task in another attempt or state than it was made from."""

    def __init__(self, change: Change) -> None:
        super().__init__(REFUSED)
        self.change = change


def found_in(change: Change) -> tuple[int, int]:
    """Return the (attempt, state) that the task of a change must have in the store."""
    attempt, state = change.before or (change.task.attempt, change.task.state)
    return attempt, int(state)


def refused(change: Change, stored: Task | None) -> TaskmeterError:
    """Say so in the log, and return what to answer. `stored`: what the task is; None = deleted."""
    attempt, state = found_in(change)
    made_from = f"attempt {attempt} in {State(state).name}"
    if stored is None:
        log.error("task %s: %s: %s, but it was deleted", change.task.token, REFUSED, made_from)
        return NotFoundError("there is no task with this token")
    log.error("task %s: %s: %s, not %d in %s", stored.token, REFUSED, made_from, stored.attempt, stored.state.name)
    problem = "the task was changed by somebody else meanwhile"
    return UnavailableError(problem, reason="STORE_UNAVAILABLE", retry_after_seconds=RETRY_AFTER_SECONDS)
