"""The local executor around the shim: directories, failures, lost hints, clean-up."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmeter.core.ports import Launch
from taskmeter.errors import LimitError
from taskmeter.executors import taskdir
from taskmeter.executors.taskdir import ExitKind
from taskmeter.model.task import TaskSpec
from tests.attempts import Attempts, no_descriptors
from tests.native.shim.conftest import MakeAttempts
from tests.native.shim.test_shim_stop import armed
from tests.waiting import wait_until_async


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k,mode=0700", "none", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def exists(path: str | Path) -> bool:
    return os.path.exists(path)


async def test_settling_removes_the_cgroups_and_releases_the_shim(attempts: Attempts) -> None:
    attempt = await attempts.run("true")
    source_paths = attempts.executor.cgroups.find(attempt.token, 1)
    await attempt.over()
    attempts.executor.settle(attempt.token, 1)
    await wait_until_async(lambda: not any(map(exists, filter(None, source_paths))), "the cgroups are removed")
    await wait_until_async(lambda: not attempt.facts.alive, "the shim was reaped")
    assert attempt.facts.gone is not None


async def test_removing_deletes_every_file_of_the_task(attempts: Attempts) -> None:
    attempt = await attempts.shell("mkdir -p a/b; chmod 000 a/b a")
    await attempt.over()
    attempts.executor.settle(attempt.token, 1)
    await attempts.executor.remove(attempt.token)
    assert not attempt.directory.parent.exists()
    await attempts.executor.remove(attempt.token)
    assert attempt.facts.claimed is False


async def test_what_a_killed_daemon_left_in_the_trash_is_deleted_by_the_next(make_attempts: MakeAttempts, tmp_path: Path) -> None:
    left = tmp_path / "state" / "trash" / "tk_x" / "1"
    left.mkdir(parents=True)
    (await make_attempts()).executor.tidy()
    await wait_until_async(lambda: not exists(left.parent), "the trash is empty")


async def test_a_shim_that_cannot_be_spawned_is_an_os_error_and_recorded(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    for copy in (Path(attempts.executor.directory_of("tk_x", 1)).parents[3] / "bin").iterdir():
        copy.unlink()
    with pytest.raises(OSError, match=r"No such file or directory \(spawn\)") as raised:
        await attempts.launch(attempt, "true")
    assert raised.value.errno == errno.ENOENT
    facts = attempt.facts
    assert (facts.claimed, facts.alive, facts.started) == (True, False, None)
    assert facts.ended is not None
    assert facts.ended.failed_to_start
    assert facts.ended.start_message == "its supervisor could not be started: No such file or directory"
    assert facts.gone is not None


@pytest.mark.parametrize("argv", [(), ("a\0b",)])
async def test_a_command_that_exec_could_not_carry_is_refused_before_the_spawn(attempts: Attempts, argv: tuple[str, ...]) -> None:
    attempt = await attempts.prepare()
    with pytest.raises(OSError, match="Invalid argument"):
        await attempts.executor.launch(Launch(attempt.token, 1, attempt.incarnation, TaskSpec(argv), {}))
    assert attempt.exit_record().kind is ExitKind.EXEC_FAILED


async def test_launching_twice_runs_it_once(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    for _ in range(2):
        await attempts.launch(attempt, "sh", "-c", "echo once >> ../../once; sleep 0.05")
    await attempt.over()
    await attempts.launch(attempt, "sh", "-c", "echo twice >> ../../once")
    await attempt.until(lambda facts: not facts.alive)
    assert (attempt.directory / "once").read_text() == "once\n"


async def test_the_sweep_finds_what_hints_did_not_say(attempts: Attempts) -> None:
    """The socket is gone, so every hint is lost; the main process ends while its tree lives on."""
    os.unlink(attempts.executor._hints.path)
    attempt = await attempts.shell("trap '' TERM; (setsid sleep 1000 &); exit 3", grace_period_seconds=1000.0)
    facts = await attempt.until(lambda facts: facts.ended)
    assert facts.started is not None
    attempt.stop(0.0)
    await attempt.over()


async def test_a_burst_of_hints_that_overflows_the_socket_loses_nothing(attempts: Attempts) -> None:
    made = [await attempts.run("true") for _ in range(100)]
    for attempt in made:
        ended, _ = await attempt.over()
        assert ended.exit_code == 0


async def test_a_state_directory_with_a_very_long_path_works(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / ("x" * 150))
    await attempts.start()
    try:
        attempt = await attempts.shell("echo $PWD; exit 2")
        ended, _ = await attempt.over()
        assert ended.exit_code == 2
        assert len(attempt.output()) > 150
        assert len(attempts.executor._hints.path) <= taskdir.HINTS_PATH_BYTES
    finally:
        await attempts.close()
        os.unlink(attempts.executor._hints.path)


async def test_closing_leaves_tasks_running_and_no_reader_on_the_loop(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run("sleep", "1000")
    pid = await attempt.started()
    before = len(os.listdir("/proc/self/fd"))
    await first.executor.close()
    await first.executor.close()
    assert len(os.listdir("/proc/self/fd")) < before
    assert exists(f"/proc/{pid}")
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    second.executor.adopt(attempt.token, 1)
    again.stop(0.0)
    await again.over()


async def test_adopting_what_has_ended_meanwhile_tells_so(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run("true")
    await attempt.over()
    await first.executor.close()
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    again.changed.clear()
    second.executor.adopt(attempt.token, 1)
    async with asyncio.timeout(10):
        await again.changed.wait()
    assert again.facts.gone is not None


async def test_what_is_adopted_before_its_supervisor_is_looked_up_obeys_from_then_on(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    running, ended = await first.run("sleep", "1000"), await first.run("true")
    await running.started()
    await ended.over()
    await first.executor.close()
    second = await make_attempts()
    again = [second.know(each.token, 1, each.incarnation) for each in (running, ended)]
    for each in (running, ended):
        second.executor.adopt(each.token, 1, started=True, at_once=False)
    again[0].stop(0.0)
    assert second.executor.attach_some(1), "the other one"
    assert not second.executor.attach_some(1)
    for each in again:
        await each.over()


async def test_what_nobody_looked_up_is_watched_by_the_sweep(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run("sleep", "1000")
    await attempt.started()
    await first.executor.close()
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    second.executor.adopt(attempt.token, 1, started=True, at_once=False)
    again.stop(0.0)
    await again.over()


async def test_a_meter_finds_the_processes_and_pages_of_a_running_attempt(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    assert attempts.executor.meter_source(attempt.token, 1) is None
    await attempts.launch(attempt, "sleep", "1000")
    pid = await attempt.started()
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    assert source.main_pid == pid
    assert source.directory == str(attempt.directory)
    for path in filter(None, (source.cgroup_v2, source.cgroup_v1_memory)):
        assert pid in members(path)


def members(cgroup: str) -> list[int]:
    return list(map(int, Path(cgroup, "cgroup.procs").read_text(encoding="ascii").split()))


async def test_without_descriptors_no_running_attempt_looks_lost(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000")
    await attempt.started()
    with no_descriptors():
        facts = attempt.facts
        assert (facts.claimed, facts.alive, facts.ended) == (True, True, None)
    attempt.stop(0.0)
    await attempt.over()


async def test_an_attempt_adopted_without_descriptors_is_watched_once_there_are_some(make_attempts: MakeAttempts) -> None:
    first = await make_attempts()
    attempt = await first.run("sleep", "1000")
    await attempt.started()
    await first.executor.close()
    second = await make_attempts()
    again = second.know(attempt.token, 1, attempt.incarnation)
    with no_descriptors():
        second.executor.adopt(attempt.token, 1)
        assert again.facts.alive
    assert again.facts.alive
    again.stop(0.0)
    await again.over()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system to fill")
async def test_a_full_disk_refuses_new_attempts_and_keeps_the_exit_of_running_ones(small_disk: Path) -> None:
    attempts = Attempts(small_disk / "state")
    await attempts.start()
    ballast = small_disk / "ballast"
    try:
        running = await attempts.shell("trap 'exit 7' TERM; echo armed; while :; do sleep 0.01; done")
        await armed(running)
        with pytest.raises(OSError, match="No space left"):
            fill(ballast)
        with pytest.raises(LimitError) as refused:
            await attempts.prepare()
        assert refused.value.reason == "DISK_FULL"
        running.stop(30.0)
        ended, gone = await running.over()
        assert (ended.exit_code, ended.exit_signal) == (7, 0)
        assert gone.time > 0
    finally:
        ballast.unlink()
        await attempts.close()
