"""Nothing of a tree survives its end, whatever it does, with a cgroup and without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tests import processes
from tests.attempts import Attempts, proc
from tests.native.shim.conftest import MakeAttempts
from tests.native.shim.hostile import SCRIPTS, script
from tests.native.shim.test_shim_stop import SLACK_SECONDS, armed
from tests.waiting import wait_until_async

GRACE_SECONDS = 0.3
SOURCES = Path(__file__).resolve().parents[3] / "native" / "shim"


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_hostile_tree_leaves_no_process(both_attempts: Attempts, name: str) -> None:
    attempt = await both_attempts.run(sys.executable, "-S", "-c", script(name), grace_period_seconds=GRACE_SECONDS)
    await armed(attempt)
    begin = monotonic()
    attempt.stop(GRACE_SECONDS)
    ended, gone = await attempt.over()
    assert monotonic() - begin <= GRACE_SECONDS + 1.0 + SLACK_SECONDS
    assert attempt.survivors() == []
    assert gone.killed_count >= 1
    if name == "main_ends_first":
        assert (ended.exit_code, ended.exit_signal) == (5, 0)
    else:
        assert (ended.exit_signal, ended.forced) == (signal.SIGKILL, True)


@pytest.fixture(scope="module")
def full_scan_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shim that knows no /proc/PID/task/TID/children, as on a kernel without CONFIG_PROC_CHILDREN."""
    binary = tmp_path_factory.mktemp("shim") / "taskmeter-shim"
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-DTM_FULL_SCAN=1"]
    subprocess.run([*command, "-o", str(binary), str(SOURCES / "shim.c")], check=True)
    return binary


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_hostile_tree_leaves_no_process_where_only_proc_tells(
    make_attempts: MakeAttempts, full_scan_shim: Path, name: str
) -> None:
    attempts = await make_attempts(cgroup="off", packaged_shim=full_scan_shim)
    attempt = await attempts.run(sys.executable, "-S", "-c", script(name), grace_period_seconds=GRACE_SECONDS)
    await armed(attempt)
    attempt.stop(GRACE_SECONDS)
    await attempt.over()
    assert attempt.survivors() == []


@pytest.mark.parametrize("name", ["setsid", "fork_hopper", "wide"])
async def test_a_hostile_tree_is_killed_at_once_when_there_is_no_grace(both_attempts: Attempts, name: str) -> None:
    attempt = await both_attempts.run(sys.executable, "-S", "-c", script(name))
    await armed(attempt)
    attempt.stop(0.0)
    await attempt.over(1.0 + SLACK_SECONDS)
    assert attempt.survivors() == []


async def test_what_main_leaves_behind_is_ended_without_any_order(both_attempts: Attempts) -> None:
    attempt = await both_attempts.shell("sleep 1000 & (sleep 1000 & ) ; exit 6", grace_period_seconds=30.0)
    ended, gone = await attempt.over(SLACK_SECONDS)
    assert (ended.exit_code, ended.cause, gone.killed_count) == (6, 0, 0)  # SIGTERM was enough
    assert attempt.survivors() == []


async def test_both_ends_of_a_pipeline_end_with_their_shell(both_attempts: Attempts) -> None:
    attempt = await both_attempts.shell("echo armed; sleep 1000 | sleep 1000; true")
    await armed(attempt)
    attempt.stop(30.0)
    await attempt.over(SLACK_SECONDS)
    assert attempt.survivors() == []


async def test_the_end_of_main_is_told_while_the_rest_still_lives(both_attempts: Attempts) -> None:
    attempt = await both_attempts.run(sys.executable, "-S", "-c", script("main_ends_first"), grace_period_seconds=1000.0)
    facts = await attempt.until(lambda facts: facts.ended)
    assert facts.gone is None
    assert facts.alive
    assert facts.ended is not None
    assert facts.ended.exit_code == 5
    assert len(attempt.survivors()) == 1
    attempt.stop(0.0)
    await attempt.over(1.0 + SLACK_SECONDS)
    assert attempt.survivors() == []


@contextmanager
def stranger(environment: dict[str, str]) -> Iterator[int]:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", "import signal; signal.pause()"], environment)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


async def test_strangers_are_not_touched(both_attempts: Attempts) -> None:
    """A process of ours that merely looks like one of the tree: same name, same marker, not below the shim."""
    hostile = await both_attempts.run(sys.executable, "-S", "-c", script("several_hoppers"))
    await armed(hostile)
    with stranger({**os.environ, "TASKMETER_TOKEN": hostile.token}) as pid:
        hostile.stop(0.0)
        await hostile.over()
        assert hostile.survivors() == [pid]


async def test_a_tree_of_a_thousand_is_ended(both_attempts: Attempts) -> None:
    wide = script("wide").replace("range(200)", "range(1000)")
    attempt = await both_attempts.run(sys.executable, "-S", "-c", wide)
    await armed(attempt)
    begin = monotonic()
    attempt.stop(GRACE_SECONDS)
    _, gone = await attempt.over()
    assert monotonic() - begin <= GRACE_SECONDS + 1.0 + SLACK_SECONDS
    assert attempt.survivors() == []
    assert gone.killed_count >= 1  # cgroup.kill counts as one


async def test_the_tree_hangs_below_the_shim_and_the_shim_below_no_one_that_matters(attempts: Attempts) -> None:
    attempt = await attempts.shell("(setsid sleep 1000 &) ; echo armed; sleep 1000")
    await armed(attempt)
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    assert processes.parent_of(source.main_pid) == source.shim_pid
    assert proc(source.shim_pid, "comm") == "taskmeter-shim\n"
    assert os.getsid(source.shim_pid) == source.shim_pid != os.getsid(0)
    await wait_until_async(
        lambda: sum(processes.parent_of(pid) == source.shim_pid for pid in attempt.survivors()) == 2,
        "main and one orphan are the shim's",
    )
