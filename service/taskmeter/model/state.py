"""How far a task is, how it ended, and the ONE table of legal moves between states.

State and outcome are separate: the state says how far the task is, the outcome says how its attempt ended.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """How far a task is; the numbers are those of `TaskState` on the wire."""

    NONE = 0
    STARTING = 1
    INITIALIZING = 2
    RUNNING = 3
    STOPPING = 4
    COMPLETED = 5
    CANCELLED = 6


class Outcome(IntEnum):
    """How an attempt ended; the numbers are those of `TaskOutcome` on the wire."""

    UNSPECIFIED = 0
    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    TIMED_OUT = 4
    INTERRUPTED = 5
    OOM_KILLED = 6
    FAILED_TO_START = 7
    LOST = 8
    SIGNALED = 9
    IDLE_EXPIRED = 10
    DEPENDENCY_FAILED = 11


TERMINAL = frozenset({State.COMPLETED, State.CANCELLED})
LIVE = frozenset(State) - TERMINAL

LEGAL: dict[State, frozenset[State]] = {
    State.NONE: frozenset({State.STARTING, State.STOPPING}),
    State.STARTING: frozenset({State.INITIALIZING, State.STOPPING}),
    State.INITIALIZING: frozenset({State.RUNNING, State.STOPPING}),
    State.RUNNING: frozenset({State.STOPPING}),
    State.STOPPING: frozenset({State.NONE, State.COMPLETED, State.CANCELLED}),
    State.COMPLETED: frozenset({State.NONE}),
    State.CANCELLED: frozenset({State.NONE}),
}
"""The transition table: 0→1→2→3→4, 0|1|2→4, 4→0 (next attempt)|5|6, 5|6→0 (RetryTask). Nothing else."""

FINAL_STATE: dict[Outcome, State] = {
    Outcome.UNSPECIFIED: State.COMPLETED,  # a process that was attached, and nobody could read how it ended
    Outcome.SUCCEEDED: State.COMPLETED,
    Outcome.FAILED: State.COMPLETED,
    Outcome.CANCELLED: State.CANCELLED,
    Outcome.TIMED_OUT: State.CANCELLED,
    Outcome.INTERRUPTED: State.CANCELLED,
    Outcome.OOM_KILLED: State.COMPLETED,
    Outcome.FAILED_TO_START: State.COMPLETED,
    Outcome.LOST: State.CANCELLED,
    Outcome.SIGNALED: State.COMPLETED,
    Outcome.IDLE_EXPIRED: State.CANCELLED,
    Outcome.DEPENDENCY_FAILED: State.CANCELLED,
}

RETRYABLE = frozenset(
    {
        Outcome.FAILED,
        Outcome.TIMED_OUT,
        Outcome.INTERRUPTED,
        Outcome.OOM_KILLED,
        Outcome.FAILED_TO_START,
        Outcome.LOST,
        Outcome.SIGNALED,
    }
)
"""What RetryTask runs again in place; succeeded and terminated tasks only start as a new copy."""

FREES_IDEMPOTENCY_KEY = frozenset(Outcome) - {
    Outcome.UNSPECIFIED,
    Outcome.SUCCEEDED,
    Outcome.CANCELLED,
    Outcome.INTERRUPTED,
    Outcome.IDLE_EXPIRED,
}
"""A task that ended so no longer answers for its idempotency key (guarantee G2)."""


class IllegalTransitionError(AssertionError):
    """A state change that the table does not have: a bug in this program, never a user's fault."""


def check(before: State, after: State) -> None:
    """Raise `IllegalTransitionError` unless the table has `before → after`."""
    if after not in LEGAL[before]:
        raise IllegalTransitionError(f"{before.name} -> {after.name}")
