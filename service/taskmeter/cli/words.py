"""One word, one sign and one colour for where a task stands."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from taskmeter.cli.text import escape
from taskmeter.client.status import TaskStatus
from taskmeter.model.state import Outcome, State


@dataclass(frozen=True, slots=True)
class Standing:
    """How a state, or at the end an outcome, is shown."""

    word: str
    sign: str
    style: str


_LIVE = {
    State.NONE: Standing("waiting", "○", "yellow"),
    State.STARTING: Standing("starting", "◌", "cyan"),
    State.INITIALIZING: Standing("getting ready", "◌", "cyan"),
    State.RUNNING: Standing("running", "●", "green"),
    State.STOPPING: Standing("stopping", "◍", "yellow"),
}

_ENDED = {
    Outcome.UNSPECIFIED: Standing("ended", "■", "default"),
    Outcome.SUCCEEDED: Standing("succeeded", "✓", "green"),
    Outcome.FAILED: Standing("failed", "✗", "red"),
    Outcome.CANCELLED: Standing("stopped", "■", "yellow"),
    Outcome.TIMED_OUT: Standing("timed out", "✗", "red"),
    Outcome.INTERRUPTED: Standing("interrupted", "■", "yellow"),
    Outcome.OOM_KILLED: Standing("out of memory", "✗", "red"),
    Outcome.FAILED_TO_START: Standing("did not start", "✗", "red"),
    Outcome.LOST: Standing("lost", "?", "red"),
    Outcome.SIGNALED: Standing("killed", "✗", "red"),
    Outcome.IDLE_EXPIRED: Standing("idle too long", "■", "yellow"),
    Outcome.DEPENDENCY_FAILED: Standing("not run", "■", "yellow"),
}


def standing(status: TaskStatus) -> Standing:
    """Return how to show a task's state or outcome."""
    return _ENDED[status.outcome] if status.completed else _LIVE[status.state]


def detail(status: TaskStatus) -> str:
    """Return what the word alone does not say: the code, the signal, the place in the queue, the retry it waits for."""
    if status.state is State.NONE:
        if status.queue_position is None:
            return status.waiting_reason.partition(" (")[0]
        return f"{status.queue_position} ahead" if status.queue_position else "next"
    if not status.completed:
        return f"attempt {status.attempt + 1}" if status.attempt else ""
    if status.outcome is Outcome.SIGNALED or (status.exit_signal and status.completed):
        return signal_name(status.exit_signal)
    return f"code {status.exit_code}" if status.outcome is Outcome.FAILED else ""


def why_waiting(status: TaskStatus) -> str:
    """Return how many are ahead of a task, and why it has not started."""
    place = detail(status) if status.queue_position is not None else ""
    return ", ".join(filter(None, [place, escape(status.waiting_reason)]))


def signal_name(number: int) -> str:
    """Return SIGTERM for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sentence(status: TaskStatus) -> str:
    """Return in one sentence why and how the task ended."""
    return status.exit_message or f"The task {standing(status).word}."


def elapsed_seconds(status: TaskStatus, now: float) -> float | None:
    """Return how long the current attempt has run, or ran; None before its start."""
    if status.start_time <= 0:
        return None
    return max((status.end_time if status.end_time > 0 else now) - status.start_time, 0.0)


def title(status: TaskStatus) -> str:
    """Return the task's name, or its token if it has none."""
    return status.name or status.token


def short(token: str) -> str:
    """Return the beginning of a token: unambiguous in practice, and every verb takes it."""
    return token[:11]
