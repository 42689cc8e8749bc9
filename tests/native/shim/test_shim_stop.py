"""Orders, grace and timeout: kept by the shim alone, with or without a daemon."""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic

import pytest

from taskmeter.model.task import Cause
from tests.attempts import Attempts
from tests.native.shim.conftest import MakeAttempts

SLACK_SECONDS = 5.0
"""On top of what is guaranteed, for a loaded machine."""

IGNORE_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('armed', flush=True); signal.pause()"


async def test_a_polite_command_ends_by_sigterm_within_its_grace(both_attempts: Attempts) -> None:
    attempt = await both_attempts.run("sleep", "1000")
    await attempt.started()
    attempt.stop(60.0)
    ended, gone = await attempt.over(SLACK_SECONDS)
    assert (ended.exit_signal, ended.cause, ended.forced, gone.killed_count) == (signal.SIGTERM, Cause.CANCEL, False, 0)


async def test_a_command_may_end_in_its_own_way_on_sigterm(attempts: Attempts) -> None:
    attempt = await attempts.shell("trap 'echo saved; exit 7' TERM; echo armed; while :; do sleep 0.01; done")
    await attempt.until(lambda _: True)
    await armed(attempt)
    attempt.stop(60.0, cause=Cause.INTERRUPT)
    ended, _ = await attempt.over(SLACK_SECONDS)
    assert (ended.exit_code, ended.cause, ended.forced) == (7, Cause.INTERRUPT, False)
    assert attempt.output() == "armed\nsaved\n"


async def armed(attempt: object) -> None:
    from tests.attempts import Attempt
    from tests.waiting import wait_until_async

    assert isinstance(attempt, Attempt)
    await attempt.started()
    await wait_until_async(lambda: "armed" in attempt.output(), "the command says that it is armed")


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(both_attempts: Attempts) -> None:
    attempt = await both_attempts.run(sys.executable, "-S", "-c", IGNORE_TERM)
    await armed(attempt)
    begin = monotonic()
    attempt.stop(0.5)
    ended, gone = await attempt.over()
    assert 0.5 <= monotonic() - begin <= 1.5 + SLACK_SECONDS
    assert (ended.exit_signal, ended.cause, ended.forced) == (signal.SIGKILL, Cause.CANCEL, True)
    assert gone.killed_count >= 1


async def test_no_grace_kills_at_once_without_sigterm(both_attempts: Attempts) -> None:
    attempt = await both_attempts.shell("trap 'echo never' TERM; echo armed; while :; do sleep 0.01; done")
    await armed(attempt)
    attempt.stop(0.0)
    ended, _ = await attempt.over(SLACK_SECONDS)
    assert (ended.exit_signal, ended.forced) == (signal.SIGKILL, True)
    assert attempt.output() == "armed\n"


async def test_a_later_order_shortens_the_grace_but_never_lengthens_it(attempts: Attempts) -> None:
    attempt = await attempts.run(sys.executable, "-S", "-c", IGNORE_TERM)
    await armed(attempt)
    attempt.stop(1000.0, serial=1)
    attempt.stop(0.3, serial=2, cause=Cause.INTERRUPT)
    attempt.stop(2000.0, serial=3)
    ended, _ = await attempt.over(1.3 + SLACK_SECONDS)
    assert (ended.cause, ended.forced) == (Cause.CANCEL, True)  # the first cause counts


async def test_an_order_with_a_serial_seen_before_changes_nothing(attempts: Attempts) -> None:
    attempt = await attempts.run(sys.executable, "-S", "-c", IGNORE_TERM)
    await armed(attempt)
    attempt.stop(1000.0, serial=2)
    attempt.stop(0.0, serial=1)
    attempt.stop(0.0, serial=2)
    attempt.stop(0.2, serial=3)
    ended, gone = await attempt.over(1.2 + SLACK_SECONDS)
    assert ended.forced
    assert gone.time - ended.start_time >= 0.2


async def test_a_stopped_command_is_woken_to_end(both_attempts: Attempts) -> None:
    attempt = await both_attempts.run("sleep", "1000")
    os.kill(await attempt.started(), signal.SIGSTOP)
    attempt.stop(60.0)
    ended, _ = await attempt.over(SLACK_SECONDS)
    assert ended.exit_signal == signal.SIGTERM


async def test_the_timeout_is_the_shims_own(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000", timeout_seconds=0.3)
    ended, _ = await attempt.over(1.3 + SLACK_SECONDS)
    assert (ended.exit_signal, ended.cause, ended.forced) == (signal.SIGTERM, Cause.TIMEOUT, False)


async def test_a_timeout_kills_after_the_specs_own_grace(attempts: Attempts) -> None:
    attempt = await attempts.run(sys.executable, "-S", "-c", IGNORE_TERM, timeout_seconds=0.5, grace_period_seconds=0.2)
    ended, _ = await attempt.over(1.7 + SLACK_SECONDS)
    assert (ended.cause, ended.exit_signal) in {(Cause.TIMEOUT, signal.SIGKILL), (Cause.TIMEOUT, signal.SIGTERM)}


async def test_a_command_in_time_is_not_touched_by_its_timeout(attempts: Attempts) -> None:
    ended, _ = await (await attempts.shell("sleep 0.05; exit 4", timeout_seconds=100.0)).over()
    assert (ended.exit_code, ended.cause) == (4, Cause.NONE)


async def test_an_order_before_the_launch_means_the_command_never_runs(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    attempt.stop(10.0)
    await attempts.launch(attempt, "touch", "ran")
    ended, gone = await attempt.over()
    assert attempt.facts.started is None
    assert (ended.failed_to_start, ended.start_message, ended.cause) == (True, "", Cause.CANCEL)
    assert (ended.start_time, gone.reaped_cpu_ns) == (0.0, 0)
    assert not (attempt.directory / "task" / "work" / "ran").exists()


async def test_an_order_while_the_shim_is_being_spawned_is_not_lost(attempts: Attempts) -> None:
    made = [await attempts.prepare() for _ in range(20)]
    launches = [attempts.launch(attempt, "sleep", "1000") for attempt in made]
    import asyncio

    tasks = [asyncio.ensure_future(launch) for launch in launches]
    await asyncio.sleep(0)  # the requests are with the native thread, their results are not
    for attempt in made:
        attempt.stop(30.0)
    await asyncio.gather(*tasks)
    for attempt in made:
        ended, _ = await attempt.over(SLACK_SECONDS)
        assert ended.cause is Cause.CANCEL


async def test_an_attempt_that_we_claim_ourselves_never_starts(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    assert attempts.executor.cancel_unclaimed(attempt.token, 1, attempt.incarnation, Cause.CANCEL)
    assert attempts.executor.cancel_unclaimed(attempt.token, 1, attempt.incarnation, Cause.CANCEL)
    await attempts.launch(attempt, "touch", "ran")
    facts = await attempt.until(lambda facts: not facts.alive)
    assert facts.claimed
    assert facts.started is None
    assert facts.ended is not None
    assert facts.ended.failed_to_start
    assert not (attempt.directory / "task" / "work" / "ran").exists()


async def test_a_claimed_attempt_cannot_be_cancelled_as_unclaimed(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000")
    await attempt.started()
    assert not attempts.executor.cancel_unclaimed(attempt.token, 1, attempt.incarnation, Cause.CANCEL)
    assert attempt.facts.ended is None


async def test_a_stop_goes_on_after_the_daemon_is_gone(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run(sys.executable, "-S", "-c", IGNORE_TERM)
    await armed(attempt)
    attempt.stop(0.5)
    await first.executor.close()
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    second.executor.adopt(attempt.token, 1)
    ended, _ = await again.over(1.5 + SLACK_SECONDS)
    assert (ended.exit_signal, ended.forced, ended.cause) == (signal.SIGKILL, True, Cause.CANCEL)


async def test_an_adopted_attempt_obeys_the_next_daemon(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run("sleep", "1000")
    pid = await attempt.started()
    await first.executor.close()
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    assert again.facts.alive
    second.executor.adopt(attempt.token, 1)
    assert await again.started() == pid
    again.stop(30.0)
    ended, _ = await again.over(SLACK_SECONDS)
    assert ended.exit_signal == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1])
async def test_the_shim_itself_ignores_signals_meant_for_others(attempts: Attempts, number: int) -> None:
    attempt = await attempts.run("sleep", "0.2")
    await attempt.started()
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    os.kill(source.shim_pid, number)
    ended, _ = await attempt.over()
    assert (ended.exit_code, ended.exit_signal) == (0, 0)


async def test_a_task_that_signals_its_own_group_does_not_hit_the_shim(attempts: Attempts) -> None:
    ended, _ = await (await attempts.shell("kill -KILL 0")).over()
    assert ended.exit_signal == signal.SIGKILL
