"""From what the kernel said and what was ordered to one outcome and one sentence."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from taskmeter.core.outcome import decide, signal_name
from taskmeter.core.ports import Ended
from taskmeter.model.resources import Resources
from taskmeter.model.state import Outcome
from taskmeter.model.task import Cause, StopOrder, Task, TaskSpec

TASK = Task(token="t", spec=TaskSpec(argv=("x",), timeout_seconds=2.5, idle_ttl_seconds=5.0), spec_hash=b"", create_time=0.0)
EXITED = Ended(
    failed_to_start=False, exit_code=0, exit_signal=0, core_dumped=False, cause=Cause.NONE, forced=False, start_time=1, end_time=2
)
NEVER = replace(EXITED, failed_to_start=True)


@pytest.mark.parametrize(
    ("ended", "stop", "outcome", "code", "message"),
    [
        (EXITED, None, Outcome.SUCCEEDED, 0, "exited with code 0"),
        (replace(EXITED, exit_code=3), None, Outcome.FAILED, 3, "exited with code 3"),
        (replace(EXITED, exit_signal=11, core_dumped=True), None, Outcome.SIGNALED, -11, "killed by SIGSEGV (core dumped)"),
        (
            replace(EXITED, cause=Cause.TIMEOUT, exit_signal=15),
            None,
            Outcome.TIMED_OUT,
            -15,
            "timed out after 2.5 s, ended by SIGTERM",
        ),
        (
            replace(EXITED, cause=Cause.IDLE),
            None,
            Outcome.IDLE_EXPIRED,
            0,
            "stopped: it gave no sign of work for 5 s, exited with code 0",
        ),
        (
            replace(EXITED, cause=Cause.CANCEL, exit_signal=9, forced=True),
            Cause.CANCEL,
            Outcome.CANCELLED,
            -9,
            "stopped on request (why), killed after its grace period",
        ),
        (EXITED, Cause.CANCEL, Outcome.CANCELLED, 0, "stopped on request (why), exited with code 0"),
        (EXITED, Cause.INTERRUPT, Outcome.INTERRUPTED, 0, "interrupted: the daemon was drained (why), exited with code 0"),
        (
            replace(EXITED, cause=Cause.TIMEOUT, exit_signal=15),
            Cause.CANCEL,
            Outcome.CANCELLED,
            -15,
            "stopped on request (why), when it had timed out, ended by SIGTERM",
        ),
        (
            replace(EXITED, unknown=True),
            None,
            Outcome.UNSPECIFIED,
            -1,
            "how it ended only its parent knows, this kernel does not tell others",
        ),
        (
            replace(EXITED, unknown=True, cause=Cause.CANCEL),
            Cause.CANCEL,
            Outcome.CANCELLED,
            -1,
            "stopped on request (why); how it ended only its parent knows, this kernel does not tell others",
        ),
        (
            replace(EXITED, detached=True, cause=Cause.INTERRUPT),
            Cause.INTERRUPT,
            Outcome.INTERRUPTED,
            -1,
            "interrupted: the daemon was drained (why); detached, the process runs on",
        ),
        (NEVER, Cause.CANCEL, Outcome.CANCELLED, -1, "stopped on request (why), before it started"),
        (
            replace(NEVER, start_message="command not found: x", exit_code=127),
            None,
            Outcome.FAILED_TO_START,
            127,
            "command not found: x",
        ),
        (
            replace(NEVER, start_message="command not found: x", exit_code=127),
            Cause.CANCEL,
            Outcome.CANCELLED,
            127,
            "stopped on request (why); it had not started: command not found: x",
        ),
        (
            replace(NEVER, start_message="command not found: x", exit_code=127),
            Cause.INTERRUPT,
            Outcome.FAILED_TO_START,
            127,
            "command not found: x",
        ),
    ],
)
def test_the_order_decides_the_outcome_and_the_kernel_the_code(
    ended: Ended, stop: Cause | None, outcome: Outcome, code: int, message: str
) -> None:
    order = StopOrder(stop, 1.0, 10.0, "why") if stop else None
    verdict = decide(TASK.evolve(stop=order), ended)
    assert (verdict.outcome, verdict.exit_code, verdict.message) == (outcome, code, message)


def test_signals_without_a_name_keep_their_number() -> None:
    assert (signal_name(9), signal_name(40)) == ("SIGKILL", "signal 40")


OOM = replace(EXITED, exit_signal=9, oom_kill_count=1)
HELD = Resources(memory_bytes=64 * 2**20, enforce=True)


@pytest.mark.parametrize(
    ("ended", "resources", "outcome", "message"),
    [
        (OOM, HELD, Outcome.OOM_KILLED, "killed by the kernel: it needed more than its limit of 64 MiB of memory"),
        (OOM, Resources(), Outcome.OOM_KILLED, "killed by the kernel: its host or container ran out of memory"),
        (replace(OOM, oom_kill_count=0), HELD, Outcome.SIGNALED, "killed by SIGKILL"),
        (
            replace(OOM, exit_signal=0, exit_code=1, oom_kill_count=2),
            HELD,
            Outcome.FAILED,
            "exited with code 1; the kernel killed 2 of its processes for want of memory",
        ),
        (
            replace(OOM, cause=Cause.CANCEL, forced=True),
            HELD,
            Outcome.CANCELLED,
            "stopped on request, killed after its grace period",
        ),
    ],
)
def test_want_of_memory_is_told_from_other_kills(ended: Ended, resources: Resources, outcome: Outcome, message: str) -> None:
    verdict = decide(TASK.evolve(spec=replace(TASK.spec, resources=resources)), ended)
    assert (verdict.outcome, verdict.message) == (outcome, message)
