"""Exit codes: of failures of ours, and of tasks."""

from __future__ import annotations

import click

from taskmeter import errors
from taskmeter.cli.text import escape
from taskmeter.model.state import Outcome

FAILED = 1
USAGE = 2
REFUSED = 3
NO_DAEMON = 4
TIME_IS_UP = 124
"""As timeout(1)."""
OURS = 125
"""`run`, `attach` or `wait` failed, not the task; as env(1), nohup(1) and timeout(1)."""
INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + SIGPIPE, what a shell reports of any program whose reader went away."""

OWN_CODE_VERBS = frozenset({"run", "attach", "wait"})

_UNREACHABLE = frozenset({"DAEMON_UNREACHABLE", "CONNECTION_BROKEN"})


def code_of(error: errors.TaskmeterError) -> int:
    """Return the exit code of a verb that failed with this error."""
    if isinstance(error, errors.UnavailableError):
        return NO_DAEMON if error.reason in _UNREACHABLE else REFUSED
    if isinstance(error, errors.InvalidArgumentError):
        return USAGE
    if isinstance(error, (errors.InternalError, errors.DeadlineError)) or type(error) is errors.TaskmeterError:
        return FAILED
    return REFUSED


def code_of_task(outcome: Outcome, exit_code: int, exit_signal: int) -> int:
    """Return the exit code that stands for how a task ended.

    Its own code, 128 + signal, or 126/127 if it could not be executed. An outcome other than success never gives 0: a task
    that left with 0 after we had to stop it counts as ended by SIGTERM (143), by its timeout as 124, and one of which no code
    is known as 125.
    """
    if exit_signal > 0:
        return 128 + exit_signal
    if exit_code > 0:
        return exit_code & 0xFF or OURS
    if outcome is Outcome.SUCCEEDED:
        return 0
    if outcome is Outcome.TIMED_OUT:
        return TIME_IS_UP
    if outcome in {Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.IDLE_EXPIRED}:
        return 128 + 15
    return OURS


def report(error: errors.TaskmeterError) -> None:
    """Say what went wrong in one line, and in another one what can be done about it."""
    from taskmeter.cli.output import styled

    click.echo(styled("error:", "red", err=True) + " " + escape(error.message), err=True)
    for field, problem in error.fields:
        line = f"{field}: {problem}" if field else problem
        if problem and problem not in error.message:
            click.echo("  " + escape(line), err=True)
    if error.hint:
        click.echo(styled("hint:", "cyan", err=True) + " " + escape(error.hint), err=True)
