from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore import leftovers
from taskmeter.executors.cgroups import Places
from taskmeter.executors.leftovers import kill_leftovers
from taskmeter.model.ids import new_token
from tests.native.shim.hostile import script
from tests.waiting import wait_until

TOKEN = new_token()
"""Others may run this test at the same time."""
MARKS = (b"TASKMETER_TOKEN=" + TOKEN.encode(), b"TASKMETER_ATTEMPT=3")
MARKED = {"TASKMETER_TOKEN": TOKEN, "TASKMETER_ATTEMPT": "3"}


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the marker, with a child that does not."""
    code = "import os, subprocess; subprocess.run(['sh', '-c', 'echo up; exec sleep 1000'], env={'PATH': os.environ['PATH']})"
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, env=os.environ | MARKED, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def carriers() -> set[int]:
    """The pids that carry the marks and live."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if set(MARKS) <= set(Path(f"/proc/{name}/environ").read_bytes().split(b"\0")):
                found.add(int(name))
        except OSError:
            continue
    return found


def test_marked_processes_and_what_descends_from_them_are_killed(orphan: subprocess.Popen[bytes]) -> None:
    assert kill_leftovers(Places(), TOKEN, 4) == 0
    assert kill_leftovers(Places(), TOKEN + "x", 3) == 0
    assert kill_leftovers(Places(), TOKEN[:-1], 3) == 0
    assert orphan.poll() is None
    assert kill_leftovers(Places(), TOKEN, 3) == 2
    assert orphan.wait(timeout=10) == -signal.SIGKILL
    assert kill_leftovers(Places(), TOKEN, 3) == 0


def test_marks_are_found_behind_the_largest_environment(orphan: subprocess.Popen[bytes]) -> None:
    large = {f"FILLER_{n}": "x" * 120_000 for n in range(10)}
    with subprocess.Popen(["sleep", "1000"], env=large | MARKED) as process:
        wait_until(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "it is exec'ed")
        assert kill_leftovers(Places(), TOKEN, 3) == 3
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_child_that_still_is_the_image_of_its_shim_is_killed_by_the_directory() -> None:
    with subprocess.Popen(["taskmeter-shim", "1000"], executable="/bin/sleep") as process:
        wait_until(lambda: b"shim" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "it is exec'ed")
        assert kill_leftovers(Places(), TOKEN, 3, b"1001") == 0
        assert kill_leftovers(Places(), TOKEN, 3, b"1000") == 1
        assert process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["fork_hopper", "several_hoppers", "respawner"])
def test_who_forks_and_exits_without_end_is_outrun(kind: str) -> None:
    """No cgroup, no subreaper: all that is known of the chain is in /proc."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script(kind)], env=os.environ | MARKED, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        assert kill_leftovers(Places(), TOKEN, 3) >= 2
        assert not carriers()
        process.stdout.close()


def test_who_may_not_be_read_is_found_below_its_parent() -> None:
    """One that is not dumpable belongs to root as far as /proc is concerned; so it is for who is not root."""
    code = "import ctypes, os, signal; os.fork() or ctypes.CDLL(None).prctl(4, 0); os.write(1, b'up\\n'); signal.pause()"
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, env=os.environ | MARKED, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() + process.stdout.readline() == b"up\nup\n"
        assert kill_leftovers(Places(), TOKEN, 3) == 2


def test_ourselves_are_never_among_them() -> None:
    """Whatever marks we were started with, as by a task that runs a daemon of its own."""
    code = f"""
import sys
from taskmeter.executors.cgroups import Places
from taskmeter.executors.leftovers import kill_leftovers
from taskmeter.model.ids import new_token
print(kill_leftovers(Places(), {TOKEN!r}, 3))
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | MARKED, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_a_cgroup_that_is_gone_has_no_members() -> None:
    assert kill_leftovers(Places("/nonexistent", "/nonexistent"), TOKEN, 1) == 0


@pytest.mark.parametrize(
    ("cgroups", "name", "marks", "patience"),
    [
        ((), b"", (b"a",), 1.0),
        ((b"/x",), b"", MARKS, 1.0),
        ((b"/x",) * 9, b"n", MARKS, 1.0),
        ((), b"", MARKS, -1.0),
        ((), b"", MARKS, float("nan")),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    cgroups: tuple[bytes, ...], name: bytes, marks: tuple[bytes, bytes], patience: float
) -> None:
    with pytest.raises(ValueError, match="two marks"):
        leftovers.kill_leftovers(cgroups, name, marks, b"", patience)


def test_what_is_not_bytes_is_refused() -> None:
    with pytest.raises(TypeError):
        leftovers.kill_leftovers((), b"", ("a", "b"), b"")  # type: ignore[arg-type]
