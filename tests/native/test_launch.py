"""The native launcher: what it makes, what it says when it cannot, and that it needs neither the GIL nor the daemon's size."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.attempt import open_owner, read_records
from metercore.launch import LAUNCH, PREPARE, REMOVE_CGROUPS, STEPS, Launcher
from taskmeter.executors import taskdir
from taskmeter.executors.shimfile import PACKAGED
from tests.attempts import no_descriptors
from tests.native.shim.direct import block_for, exit_record
from tests.waiting import wait_until

Result = tuple[int, int, int, int, int, int]


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher(os.fsencode(PACKAGED))
    yield made
    made.close()


def results(launcher: Launcher, count: int = 1, seconds: float = 30.0) -> list[Result]:
    """Wait for `count` results."""
    found: list[Result] = []
    while len(found) < count:
        ready, _, _ = select.select([launcher.fileno()], [], [], seconds)
        assert ready, f"{len(found)} of {count} results"
        found += launcher.results()
    return found


def prepare(launcher: Launcher, directory: Path) -> Path:
    launcher.prepare(1, os.fsencode(directory), b"the spec", False)
    assert results(launcher) == [(1, PREPARE, 0, 0, 0, -1)]
    return directory


def launch(launcher: Launcher, directory: Path, *argv: str, number: int = 2, **more: object) -> None:
    launcher.launch(number, os.fsencode(directory), block_for(directory, *argv, **more), b"", (), None, False, None)


def end(result: Result) -> int:
    """Wait for a launched shim's end; return its exit status."""
    _, kind, error, _, pid, pidfd = result
    assert (kind, error) == (LAUNCH, 0)
    assert select.select([pidfd], [], [], 30.0)[0]
    os.close(pidfd)
    info = os.waitid(os.P_PID, pid, os.WEXITED)
    assert info is not None
    return info.si_status


def test_prepare_makes_the_directory_with_all_above_it_and_writes_the_spec(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "a" / "b" / "1")
    assert (directory / "spec").read_bytes() == b"the spec"
    assert (directory / "spec").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    prepare(launcher, directory)  # again is no error


def test_prepare_says_which_step_failed_and_why(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    launcher.prepare(5, os.fsencode(tmp_path / "file" / "1"), b"", False)
    [(number, kind, error, step, _, _)] = results(launcher)
    assert (number, kind, error, STEPS[step]) == (5, PREPARE, errno.ENOTDIR, "attempt directory")


def test_launch_runs_the_command_under_a_shim_of_ours(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    launch(launcher, directory, "/bin/sh", "-c", "echo hello; exit 3")
    [result] = results(launcher)
    assert end(result) == 0
    record = exit_record(directory)
    assert record is not None
    assert record.code == 3
    assert (directory / "task" / "stdout").read_text() == "hello\n"


def test_launch_names_the_step_and_the_error(launcher: Launcher, tmp_path: Path) -> None:
    launch(launcher, tmp_path / "missing", "true")
    [(_, _, error, step, pid, pidfd)] = results(launcher)
    assert (error, STEPS[step], pid, pidfd) == (errno.ENOENT, "attempt directory", 0, -1)


def test_a_shim_that_cannot_be_run_is_an_error_of_the_spawn(tmp_path: Path) -> None:
    launcher = Launcher(os.fsencode(tmp_path / "no-shim"))
    directory = prepare(launcher, tmp_path / "1")
    launch(launcher, directory, "true")
    [(_, _, error, step, pid, _)] = results(launcher)
    assert (error, STEPS[step], pid) == (errno.ENOENT, "spawn", 0)
    launcher.close()


def test_results_come_in_the_order_of_the_requests(launcher: Launcher, tmp_path: Path) -> None:
    for number in range(200):
        launcher.prepare(number, os.fsencode(tmp_path / str(number)), b"", False)
    assert [result[0] for result in results(launcher, 200)] == list(range(200))


def test_the_launcher_works_while_python_holds_the_gil(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        launch(launcher, directory, "true")
        while not (directory / "exit").exists() or not any((directory / "exit").read_bytes()):
            pass  # never gives the GIL away by itself
    finally:
        sys.setswitchinterval(interval)
    [result] = results(launcher)
    assert end(result) == 0


def test_a_shim_starts_with_nothing_of_the_daemons(launcher: Launcher, tmp_path: Path) -> None:
    """No descriptors, no environment, no ignored signals; every signal blocked until the shim has its handlers."""
    directory = prepare(launcher, tmp_path / "1")
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        launch(launcher, directory, "/bin/sh", "-c", "ls /proc/self/fd | wc -l; cat; sleep 1000")
        [result] = results(launcher)
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(inherited)
    pid, pidfd = result[4:]
    output = directory / "task" / "stdout"
    wait_until(lambda: output.exists() and output.read_text(), "the command runs")
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored & ~(0b11 << 31) == 0  # posix_spawn itself sets the C library's two to ignored
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"taskmeter-shim\0" + os.fsencode(directory) + b"\0"
    assert all(os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null" for number in (0, 1, 2))
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    (directory / "ctl").write_bytes(taskdir.pack_ctl(taskdir.Control(1, 1, 0)))
    signal.pidfd_send_signal(pidfd, signal.SIGRTMIN)
    assert end(result) == 0
    assert output.read_text() == "4\n"


def test_a_signal_right_after_the_spawn_does_not_kill_the_shim(launcher: Launcher, tmp_path: Path) -> None:
    for number in range(30):
        directory = prepare(launcher, tmp_path / str(number))
        launch(launcher, directory, "true")
        [result] = results(launcher)
        for each in (signal.SIGRTMIN, signal.SIGTERM, signal.SIGHUP):
            signal.pidfd_send_signal(result[5], each)
        assert end(result) == 0


def test_a_cgroup_that_cannot_be_made_does_not_stop_the_launch(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    block = block_for(directory, "true", cgroup_v2=b"/nonexistent/a/b", cgroup_v1=(b"/nonexistent/c/d",))
    launcher.launch(2, os.fsencode(directory), block, b"/nonexistent/a/b", (b"/nonexistent/c/d",), None, False, None)
    [result] = results(launcher)
    assert STEPS[result[3]] == "cgroup"
    assert end(result) == 0
    record = exit_record(directory)
    assert record is not None
    assert (record.kind, record.code) == (taskdir.ExitKind.EXITED, 0)


def test_cgroups_are_removed_and_missing_ones_are_no_error(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v1").mkdir()
    paths = os.fsencode(tmp_path / "v2"), os.fsencode(tmp_path / "v1")
    for _ in range(2):
        launcher.remove_cgroups(3, paths[0], (paths[1],))
        assert results(launcher) == [(3, REMOVE_CGROUPS, 0, 0, 0, -1)]
    assert list(tmp_path.iterdir()) == []


def test_ids_that_we_may_not_give_away_are_an_error(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    mine = (os.getuid(), os.getgid())
    launcher.launch(2, os.fsencode(directory), block_for(directory, "true"), b"", (), b"data", True, mine)
    [result] = results(launcher)
    assert end(result) == 0
    assert (directory / "stdin").read_bytes() == b"data"
    assert os.readlink(directory / "task" / "work") == "../../work"
    assert (tmp_path / "work").is_dir()


def test_a_launch_keeps_an_order_that_was_there_before(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    order = taskdir.pack_ctl(taskdir.Control(1, 1, 5))
    (directory / "ctl").write_bytes(order)
    launch(launcher, directory, "true")
    [result] = results(launcher)
    assert end(result) == 0
    assert (directory / "ctl").read_bytes().startswith(order)
    record = exit_record(directory)
    assert record is not None
    assert record.kind is taskdir.ExitKind.NEVER_STARTED


def test_a_block_too_short_to_be_one_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too short"):
        launcher.launch(2, os.fsencode(tmp_path), b"x", b"", (), None, False, None)
    with pytest.raises(ValueError, match="too many"):
        launcher.launch(2, os.fsencode(tmp_path), block_for(tmp_path, "true"), b"", (b"/x",) * 5, None, False, None)


def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    launcher = Launcher(os.fsencode(PACKAGED))
    for number in range(100):
        launcher.prepare(number, os.fsencode(tmp_path / str(number)), b"", False)
    launcher.close()
    launcher.close()
    assert len(list(tmp_path.iterdir())) == 100
    assert launcher.results() == []
    with pytest.raises(ValueError, match="closed"):
        launcher.prepare(1, b"/x", b"", False)


def test_launchers_leave_no_threads_or_descriptors() -> None:
    def state() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    before, threads = state(), threading.active_count()
    for _ in range(50):
        Launcher(os.fsencode(PACKAGED)).close()
        Launcher(os.fsencode(PACKAGED))  # closed when it is forgotten
    # A joined thread may still be listed for a moment: the kernel wakes its joiner before it is gone (kernel/fork.c: mm_release).
    wait_until(lambda: state() == before, "all threads and descriptors are gone")
    assert threading.active_count() == threads


def test_no_descriptors_left_is_an_error_not_a_crash(launcher: Launcher, tmp_path: Path) -> None:
    directory = prepare(launcher, tmp_path / "1")
    block = block_for(directory, "true")
    with no_descriptors():
        launcher.launch(2, os.fsencode(directory), block, b"", (), None, False, None)
        [(_, _, error, _, pid, _)] = results(launcher)
    assert (error, pid) == (errno.EMFILE, 0)


def test_reading_a_missing_attempt_gives_none(tmp_path: Path) -> None:
    assert read_records(os.fsencode(tmp_path / "missing")) is None
    assert read_records(os.fsencode(tmp_path)) == (None, 0, None, None, None)
    assert open_owner(os.fsencode(tmp_path / "missing")) == (0, -1)
    assert open_owner(os.fsencode(tmp_path)) == (0, -1)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        read_records(os.fsencode(tmp_path / "file"))


def test_a_launcher_that_was_never_started_is_refused_everything() -> None:
    launcher = Launcher.__new__(Launcher)
    with pytest.raises(ValueError, match="never started"):
        launcher.fileno()
    with pytest.raises(ValueError, match="closed"):
        launcher.prepare(1, b"/x", b"", False)
    assert launcher.results() == []
    launcher.close()
