"""How a command ended is told exactly."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.attempts import Attempts


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
async def test_an_exit_code_is_kept(attempts: Attempts, code: int) -> None:
    ended, _ = await (await attempts.shell(f"exit {code}")).over()
    assert (ended.failed_to_start, ended.exit_code, ended.exit_signal) == (False, code, 0)


async def test_underscore_exit_from_a_thread_is_the_exit_of_the_process(attempts: Attempts) -> None:
    script = "import os, threading; threading.Thread(target=os._exit, args=(3,)).start(); threading.Event().wait()"
    ended, _ = await (await attempts.run(sys.executable, "-c", script)).over()
    assert ended.exit_code == 3


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN])
async def test_a_death_by_signal_is_told_from_an_exit(attempts: Attempts, number: int) -> None:
    ended, _ = await (await attempts.run(sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})")).over()
    assert (ended.exit_signal, ended.exit_code, ended.forced, ended.cause) == (number, 0, False, 0)


async def test_a_real_segmentation_fault_is_sigsegv(attempts: Attempts) -> None:
    ended, _ = await (await attempts.run(sys.executable, "-c", "import ctypes; ctypes.string_at(1)")).over()
    assert ended.exit_signal == signal.SIGSEGV


async def test_a_kill_from_outside_is_not_taken_for_ours(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000")
    os.kill(await attempt.started(), signal.SIGKILL)
    ended, gone = await attempt.over()
    assert (ended.exit_signal, ended.forced, gone.killed_count) == (signal.SIGKILL, False, 0)


async def test_a_core_dump_is_told_where_the_kernel_makes_one(attempts: Attempts) -> None:
    attempt = await attempts.shell("ulimit -c unlimited 2>/dev/null; kill -QUIT $$; echo unreachable")
    ended, _ = await attempt.over()
    assert ended.exit_signal == signal.SIGQUIT
    assert ended.core_dumped in {True, False}  # core_pattern decides; the flag is the kernel's
    assert attempt.output() == ""


async def test_running_is_recorded_before_the_end_even_of_the_shortest_command(attempts: Attempts) -> None:
    facts = await (await attempts.run("true")).until(lambda facts: facts.gone)
    assert facts.started is not None
    assert facts.ended is not None
    assert facts.gone is not None
    assert 0 < facts.started.start_time <= facts.ended.end_time <= facts.gone.time


async def test_hundreds_of_short_commands_at_once_each_have_their_own_end(attempts: Attempts) -> None:
    made = [await attempts.shell(f"exit {number % 256}") for number in range(300)]
    codes = [(await attempt.over())[0].exit_code for attempt in made]
    assert codes == [number % 256 for number in range(300)]
