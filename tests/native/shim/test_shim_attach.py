"""Watch mode: the shim follows a process that is not its child, tells how it ended, and ends it only if ordered to."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from taskmeter.executors import taskdir
from taskmeter.executors.taskdir import ExitKind, Stage
from taskmeter.model.task import Attach, Cause
from tests.attempts import Attempts, proc
from tests.native.shim.conftest import MakeAttempts
from tests.native.shim.direct import block_for, make_attempt, run_shim
from tests.targets import IGNORES_TERM, Targets, go_on, hear, is_alive, wait_until_dead
from tests.waiting import wait_until, wait_until_async

SOURCES = Path(__file__).resolve().parents[3] / "native" / "shim"
GRACE_SECONDS = 0.3
FORK_CHAIN = """
import os, time
print("up", flush=True)
for _ in range(60):
    if os.fork():
        os.wait()
        os._exit(0)
time.sleep(600)
"""
TELLS_EVERYBODY = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 15)


@pytest.fixture
def targets() -> Iterator[Targets]:
    with Targets() as made:
        yield made


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Shims as on other kernels: one that cannot read how a stranger's child ended, one without /proc/PID/task/TID/children."""
    directory = tmp_path_factory.mktemp("shims")
    found = {}
    for name in ("TM_HIDE_STATUS", "TM_FULL_SCAN"):
        found[name] = directory / name / "taskmeter-shim"
        found[name].parent.mkdir()
        command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-D{name}=1"]
        subprocess.run([*command, "-o", str(found[name]), str(SOURCES / "shim.c")], check=True)
    return found


def family(targets: Targets) -> tuple[subprocess.Popen[str], int]:
    """Start a target with a child that ignores SIGTERM, and return both once that child does."""
    target = targets.shell(f'/bin/sh -c "{IGNORES_TERM}" & echo $!; read -r _; exit 4')
    lines = {hear(target), hear(target)}
    lines.remove("up")
    return target, int(lines.pop())


async def test_the_record_names_the_process_with_its_own_start(attempts: Attempts, targets: Targets) -> None:
    target = targets.shell("read -r _; exit 3")
    attempt = await attempts.attach(target.pid, include_descendants=True)
    assert await attempt.started() == target.pid
    record = taskdir.unpack_pid((attempt.directory / "pid").read_bytes())
    assert record is not None
    fields = proc(target.pid, "stat").rpartition(")")[2].split()
    assert record.start_ticks == int(fields[19])
    assert record.start_boottime_ns == record.start_ticks * (10**9 // os.sysconf("SC_CLK_TCK"))
    assert record.flags == taskdir.PID_ATTACHED | taskdir.PID_DESCENDANTS
    go_on(target)
    ended, gone = await attempt.over()
    assert (ended.exit_code, ended.exit_signal, ended.cause, ended.unknown) == (3, 0, Cause.NONE, False)
    assert (gone.read_bytes, gone.write_bytes, gone.killed_count) == (None, None, 0)


@pytest.mark.parametrize("reaped", [False, True], ids=["zombie", "reaped"])
async def test_the_exit_status_is_read_before_and_after_its_parent_has_reaped_it(
    attempts: Attempts, targets: Targets, *, reaped: bool
) -> None:
    target = targets.shell("read -r _; kill -KILL $$")
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    shim = taskdir.unpack_claim((attempt.directory / "claim").read_bytes())
    assert shim is not None
    os.kill(shim.shim_pid, signal.SIGSTOP)  # it is to find the end as it is by then
    go_on(target)
    wait_until_dead(target.pid)
    if reaped:
        target.wait()
    os.kill(shim.shim_pid, signal.SIGCONT)
    ended, _ = await attempt.over()
    if reaped and not TELLS_EVERYBODY:
        assert ended.unknown
    else:
        assert (ended.unknown, ended.exit_code, ended.exit_signal) == (False, 0, signal.SIGKILL)


async def test_where_no_status_can_be_read_the_end_is_told_without_one(
    make_attempts: MakeAttempts, targets: Targets, shims: dict[str, Path]
) -> None:
    attempts = await make_attempts(packaged_shim=shims["TM_HIDE_STATUS"])
    target = targets.shell("read -r _; exit 3")
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    go_on(target)
    target.wait()
    ended, _ = await attempt.over()
    assert (ended.unknown, ended.exit_code, ended.exit_signal) == (True, 0, 0)
    assert attempt.exit_record().kind is ExitKind.UNKNOWN


async def test_a_process_that_took_over_the_pid_is_never_watched(attempts: Attempts, targets: Targets) -> None:
    target = targets.shell("read -r _")
    meant = attempts.executor.identify(Attach(target.pid)).target
    for other in (replace(meant, start_ticks=meant.start_ticks - 1), replace(meant, boot_id="another boot")):
        attempt = await attempts.attach(target.pid, target=other)
        facts = await attempt.until(lambda facts: facts.gone)
        assert facts.started is None
        assert facts.ended is not None
        assert facts.ended.start_message == "the process ended before it could be attached"
        record = attempt.exit_record()
        assert (record.kind, record.stage, record.error) == (ExitKind.EXEC_FAILED, Stage.ATTACH, errno.ESRCH)
    assert is_alive(target.pid)


async def test_an_order_ends_a_target_that_ignores_sigterm_after_its_grace(attempts: Attempts, targets: Targets) -> None:
    target = targets.shell(IGNORES_TERM)
    hear(target)
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    attempt.stop(GRACE_SECONDS)
    ended, gone = await attempt.over()
    assert (ended.exit_signal, ended.forced, ended.cause) == (signal.SIGKILL, True, Cause.CANCEL)
    assert gone.killed_count == 1


async def test_a_target_that_obeys_sigterm_is_not_killed_and_a_stopped_one_is_woken(attempts: Attempts, targets: Targets) -> None:
    target = targets.shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
    hear(target)
    os.kill(target.pid, signal.SIGSTOP)
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    attempt.stop(30.0)
    ended, gone = await attempt.over()
    assert (ended.exit_code, ended.forced, gone.killed_count) == (7, False, 0)


async def test_without_descendants_an_order_is_for_the_target_alone(attempts: Attempts, targets: Targets) -> None:
    target, child = family(targets)
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    attempt.stop(0.0)
    ended, gone = await attempt.over()
    assert (ended.exit_signal, gone.killed_count) == (signal.SIGKILL, 1)
    assert is_alive(child)


@pytest.mark.parametrize("shim", ["packaged", "TM_FULL_SCAN"])
@pytest.mark.parametrize("grace_seconds", [0.0, 2.0])
async def test_with_descendants_an_order_ends_those_that_outlive_the_target_too(
    make_attempts: MakeAttempts, targets: Targets, shims: dict[str, Path], shim: str, grace_seconds: float
) -> None:
    attempts = await make_attempts(**({} if shim == "packaged" else {"packaged_shim": shims[shim]}))
    target, child = family(targets)
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    attempt.stop(grace_seconds)
    ended, gone = await attempt.over()
    assert ended.exit_signal == (signal.SIGTERM if grace_seconds else signal.SIGKILL)
    assert gone.killed_count == (1 if grace_seconds else 2)
    assert not is_alive(child)


async def test_a_fork_chain_below_the_target_does_not_outrun_the_kill(attempts: Attempts, targets: Targets) -> None:
    # Each generation is a child of the one before, which waits for it: so ancestry holds, and the newest is always deeper.
    target = targets.python(FORK_CHAIN)
    hear(target)
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    attempt.stop(0.0)
    await attempt.over()
    await wait_until_async(lambda: not in_session(target.pid), "all of its session are dead")


def in_session(leader: int) -> list[int]:
    """Living processes of a session: those of `Targets` do not leave theirs."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(name))
    return found


async def test_the_supervisor_of_another_task_below_the_target_is_spared(
    attempts: Attempts, targets: Targets, tmp_path: Path
) -> None:
    other = tmp_path / "taskmeter-shim-of-another"
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, other)
    target = targets.shell(f"{other} 600 & echo $!; sleep 600 & echo $!; read -r _")
    spared, ended = int(hear(target)), int(hear(target))
    wait_until(lambda: Path(f"/proc/{spared}/comm").read_text().startswith("taskmeter-shim"), "it was exec'ed")
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    attempt.stop(0.0)
    await attempt.over()
    assert (is_alive(spared), is_alive(ended)) == (True, False)


async def test_a_target_that_ends_by_itself_leaves_its_descendants_alone(attempts: Attempts, targets: Targets) -> None:
    target, child = family(targets)
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    go_on(target)
    ended, gone = await attempt.over()
    assert (ended.exit_code, gone.killed_count) == (4, 0)
    assert is_alive(child)


async def test_a_drain_lets_go_of_the_target_without_a_signal(attempts: Attempts, targets: Targets) -> None:
    target, child = family(targets)
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    attempt.stop(0.0, cause=Cause.INTERRUPT)
    ended, gone = await attempt.over()
    assert (ended.detached, ended.cause, gone.killed_count) == (True, Cause.INTERRUPT, 0)
    assert is_alive(target.pid)
    assert is_alive(child)


async def test_an_order_that_came_before_the_shim_ends_the_attempt_and_not_the_process(
    attempts: Attempts, targets: Targets
) -> None:
    target = targets.shell("read -r _")
    made = await attempts.prepare()
    (made.directory / "ctl").write_bytes(taskdir.pack_ctl(taskdir.Control(1, Cause.CANCEL, 0)))
    found = attempts.executor.identify(Attach(target.pid))
    block = taskdir.LaunchBlock(
        made.incarnation, b"", (), (), bytes(made.directory), made.token.encode(), made.number,
        flags=taskdir.ATTACH, attach_pid=found.target.pid, attach_start_ticks=found.target.start_ticks,
    )  # fmt: skip
    assert run_shim(made.directory, taskdir.pack_launch(block)) == (0, b"")
    assert made.exit_record().kind is ExitKind.NEVER_STARTED
    assert is_alive(target.pid)


async def test_a_killed_shim_takes_nothing_with_it(attempts: Attempts, targets: Targets) -> None:
    target, child = family(targets)
    attempt = await attempts.attach(target.pid, include_descendants=True)
    await attempt.started()
    shim = taskdir.unpack_claim((attempt.directory / "claim").read_bytes())
    assert shim is not None
    os.kill(shim.shim_pid, signal.SIGKILL)
    facts = await attempt.until(lambda facts: not facts.alive)
    assert (facts.ended, facts.gone) == (None, None)
    assert await attempt.executor.kill_leftovers(attempt.token, attempt.number) == 0
    assert is_alive(target.pid)
    assert is_alive(child)


async def test_what_the_target_used_since_then_is_recorded_with_no_daemon_at_work(attempts: Attempts, targets: Targets) -> None:
    burn = "import time, sys\ndef burn(s):\n e = time.process_time() + s\n while time.process_time() < e: pass\n"
    target = targets.python(burn + "burn(1); print('up', flush=True); sys.stdin.readline(); burn(1); sys.stdin.readline()")
    hear(target)
    attempt = await attempts.attach(target.pid)
    await attempt.started()
    go_on(target)

    def recorded() -> int:
        record = taskdir.unpack_gone((attempt.directory / "gone").read_bytes())
        return record.reaped_user_ns if record else 0

    await wait_until_async(lambda: recorded() > 0.95e9, "it is recorded")
    go_on(target)
    _, gone = await attempt.over()
    assert 0.95e9 < gone.reaped_cpu_ns < 1.2e9
    assert attempt.exit_record().user_ns == 0


def test_a_block_that_attaches_and_runs_something_is_refused(tmp_path: Path) -> None:
    directory = make_attempt(tmp_path / "attempt")
    assert (
        run_shim(directory, block_for(directory, "true", flags=taskdir.ATTACH, attach_pid=1))[0] == taskdir.ShimStatus.BAD_BLOCK
    )
    block = block_for(directory, flags=taskdir.ATTACH, attach_pid=-1)
    assert run_shim(directory, block)[0] == taskdir.ShimStatus.BAD_BLOCK
