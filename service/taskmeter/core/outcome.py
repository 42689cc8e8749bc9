"""How an attempt ended, decided from what the kernel said and what was ordered; one readable sentence says why."""

from __future__ import annotations

import signal

from msgspec import Struct

from taskmeter.core.ports import Ended
from taskmeter.model.state import Outcome
from taskmeter.model.task import Cause, Task

OUTCOME_OF_CAUSE = {
    Cause.CANCEL: Outcome.CANCELLED,
    Cause.TIMEOUT: Outcome.TIMED_OUT,
    Cause.INTERRUPT: Outcome.INTERRUPTED,
    Cause.IDLE: Outcome.IDLE_EXPIRED,
}
"""How an attempt ended that was stopped for this cause."""

NO_EXIT_CODE = -1

_ALREADY = {
    Cause.TIMEOUT: ", when it had timed out",
    Cause.INTERRUPT: ", when it was being interrupted",
    Cause.IDLE: ", when it had been idle for too long",
}
"""What a cancel came after."""

_UNREADABLE = "how it ended only its parent knows, this kernel does not tell others"


class Verdict(Struct, frozen=True, gc=False):
    """Outcome, exit code and signal as the contract defines them, and the sentence."""

    outcome: Outcome
    exit_code: int
    exit_signal: int
    message: str


def signal_name(number: int) -> str:
    """Return "SIGKILL" for 9; a number without a name (a real-time signal) stays a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def decide(task: Task, ended: Ended) -> Verdict:
    """Judge an attempt whose main process has ended.

    An order that was acted on (or accepted by us before we saw the end) decides the outcome; the exit code and signal stay
    those of the kernel, so nothing is hidden. A cancel that was accepted decides over all else: who asked for it was told so,
    were it while the attempt was timing out, or failing to start.
    """
    cause = ended.cause if ended.cause is not Cause.NONE else task.stop.cause if task.stop else Cause.NONE
    if task.stop and task.stop.cause is Cause.CANCEL:
        cause = Cause.CANCEL
    never_started = ended.failed_to_start and not ended.start_message
    nameless = never_started or ended.unknown or ended.detached
    exit_code = NO_EXIT_CODE if nameless else -ended.exit_signal if ended.exit_signal else ended.exit_code
    if cause is Cause.CANCEL or (cause is not Cause.NONE and (never_started or not ended.failed_to_start)):
        return Verdict(OUTCOME_OF_CAUSE[cause], exit_code, ended.exit_signal, _why_stopped(task, ended, cause, never_started))
    if ended.unknown:
        return Verdict(Outcome.UNSPECIFIED, exit_code, 0, _UNREADABLE)
    if ended.failed_to_start:
        return Verdict(Outcome.FAILED_TO_START, exit_code, 0, ended.start_message or "it was never started")
    if ended.exit_signal:
        if ended.exit_signal == signal.SIGKILL and ended.oom_kill_count:
            return Verdict(Outcome.OOM_KILLED, exit_code, ended.exit_signal, _why_out_of_memory(task))
        core = " (core dumped)" if ended.core_dumped else ""
        message = f"killed by {signal_name(ended.exit_signal)}{core}{_others_killed(ended)}"
        return Verdict(Outcome.SIGNALED, exit_code, ended.exit_signal, message)
    if ended.exit_code == 0:
        return Verdict(Outcome.SUCCEEDED, 0, 0, "exited with code 0")
    return Verdict(Outcome.FAILED, exit_code, 0, f"exited with code {ended.exit_code}{_others_killed(ended)}")


def _why_out_of_memory(task: Task) -> str:
    resources = task.spec.resources
    if resources.enforce and resources.memory_bytes:
        return f"killed by the kernel: it needed more than its limit of {resources.memory_bytes / 2**20:g} MiB of memory"
    return "killed by the kernel: its host or container ran out of memory"


def _others_killed(ended: Ended) -> str:
    """What explains an odd end of a main process that was not itself the one to go."""
    count = ended.oom_kill_count
    if not count:
        return ""
    return f"; the kernel killed {count} of its processes for want of memory"


def why_stopped(task: Task, cause: Cause) -> str:
    """Say in a few words why a task was stopped."""
    if cause is Cause.TIMEOUT:
        why = f"timed out after {task.spec.timeout_seconds:g} s"
    elif cause is Cause.INTERRUPT:
        why = "interrupted: the daemon was drained"
    elif cause is Cause.IDLE:
        why = f"stopped: it gave no sign of work for {task.spec.idle_ttl_seconds:g} s"
    else:
        why = "stopped on request"
    return f"{why} ({task.stop.reason})" if task.stop and task.stop.reason else why


def _why_stopped(task: Task, ended: Ended, cause: Cause, never_started: bool) -> str:
    why = why_stopped(task, cause)
    if cause is Cause.CANCEL:
        why += _ALREADY.get(ended.cause, "")
        if ended.failed_to_start and not never_started:
            return f"{why}; it had not started: {ended.start_message}"
    if ended.detached:
        return f"{why}; detached, the process runs on"
    if never_started:
        return f"{why}, before it started"
    if ended.forced:
        return f"{why}, killed after its grace period"
    if ended.unknown:
        return f"{why}; {_UNREADABLE}"
    if ended.exit_signal:
        return f"{why}, ended by {signal_name(ended.exit_signal)}"
    return f"{why}, exited with code {ended.exit_code}"
