from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from taskmeter.executors.cgroups import Places
from taskmeter.executors.leftovers import kill_leftovers, marked, members, parent_of
from tests.waiting import wait_until

TOKEN = "tk_leftoversLeftoversLeft"


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the marker, with a child that does not."""
    script = "import os, subprocess, sys; subprocess.run(['sleep', '1000'], env={'PATH': os.environ['PATH']})"
    environment = {**os.environ, "TASKMETER_TOKEN": TOKEN, "TASKMETER_ATTEMPT": "3"}
    with subprocess.Popen([sys.executable, "-S", "-c", script], env=environment) as process:
        yield process
        process.kill()


def test_marked_processes_and_what_descends_from_them_are_killed(orphan: subprocess.Popen[bytes]) -> None:
    found = wait_until(lambda: found if len(found := marked(TOKEN, 3)) == 2 else None, "parent and child are found")
    assert found is not None
    assert orphan.pid in found
    assert marked(TOKEN, 4) == set()
    assert marked(TOKEN + "x", 3) == set()
    assert kill_leftovers(Places(), TOKEN, 3) == 2
    assert orphan.wait(timeout=10) == -9
    wait_until(lambda: not marked(TOKEN, 3), "both are gone")
    assert kill_leftovers(Places(), TOKEN, 3) == 0


def test_the_parent_of_a_process_is_read_past_any_name() -> None:
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) == 0


def test_a_cgroup_that_is_gone_has_no_members() -> None:
    assert members("/nonexistent") == set()
    assert kill_leftovers(Places("/nonexistent", "/nonexistent"), TOKEN, 1) == 0
