"""Which limits a host can keep, what its cgroup files are then told, and that an ordinary user's delegated cgroup will do."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from taskmeter.executors import limits
from taskmeter.executors.cgroups import Cgroups, Places, discover, own_cgroups
from taskmeter.model.resources import Resources
from tests.native.users import NOBODY, as_nobody, in_child

MIB = 2**20
ALL = Resources(cpu_cores=1.5, memory_bytes=64 * MIB, max_processes=9, enforce=True)
V2_FILES = ("memory.max", "pids.max", "cpu.max")


def test_what_lacks_is_named() -> None:
    assert limits.missing(Cgroups(), ALL) == "memory and CPU and processes"
    assert limits.missing(Cgroups(v1_memory="/m", v1_pids="/p", v1_cpu="/c"), ALL) == ""
    assert limits.missing(Cgroups(v2="/u", v2_controllers=frozenset({"memory", "pids"})), ALL) == "CPU"
    assert limits.missing(Cgroups(), Resources(memory_bytes=5)) == "", "nothing is to be enforced"
    assert limits.missing(Cgroups(), Resources(enforce=True)) == "", "there is nothing to enforce"


def test_only_a_task_with_limits_pays_for_their_cgroups() -> None:
    cgroups = Cgroups(v2="/u", v1_memory="/m", v1_pids="/p", v1_cpu="/c")
    assert limits.places_for(cgroups, "tk", 1, Resources()) == Places("/u/tk.1", "/m/tk.1")
    assert limits.places_for(cgroups, "tk", 1, ALL) == Places("/u/tk.1", "/m/tk.1", "", "/p/tk.1", "/c/tk.1")
    assert len(limits.places_for(cgroups, "tk", 1, ALL).v1) <= 4, "TM_MAX_CGROUPS_V1"


def test_v2_files_are_told_in_their_own_units(tmp_path: Path) -> None:
    for name in V2_FILES:
        (tmp_path / name).write_text("max")
    limits.apply(Places(v2=str(tmp_path)), ALL)
    assert [(tmp_path / name).read_text() for name in V2_FILES] == [str(64 * MIB), "9", "150000 100000"]
    limits.apply(Places(v2=str(tmp_path)), Resources(cpu_cores=0.0001, enforce=True))
    assert (tmp_path / "cpu.max").read_text() == "1000 100000", "the kernel takes no less"


def test_a_limit_without_its_cgroup_is_an_error_and_no_launch() -> None:
    with pytest.raises(OSError, match="holds it to its limits") as failure:
        limits.apply(Places(), ALL)
    assert failure.value.errno == errno.EOPNOTSUPP


def test_rlimits_of_a_spec_replace_those_of_the_daemon() -> None:
    nofile, core = limits.RLIMITS["nofile"], limits.RLIMITS["core"]
    found = limits.rlimits_of({"nofile": 5, "core": -1}, ((nofile, 1, 2),))
    assert {number: both for number, *both in found} == {nofile: [5, 5], core: [2**64 - 1] * 2}


@pytest.mark.root
def test_an_ordinary_user_limits_tasks_below_a_cgroup_that_was_delegated_to_it(tmp_path: Path) -> None:
    """What systemd's Delegate=yes or an administrator's chown gives; of version 1 where that has the controllers."""
    own = own_cgroups()
    name = f"taskmeter-test-{os.getpid()}"
    delegated = [Path(own[controller], name) for controller in ("memory", "pids", "cpu") if controller in own]
    if not delegated:
        return  # pure v2: its files are tested above, and the daemon's own run has them in tests/integration/test_limits.py
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    for path in delegated:
        path.mkdir()
        for each in (path, path / "cgroup.procs"):
            os.chown(each, NOBODY, NOBODY)

    def limit_and_eat() -> None:
        cgroups = discover(tmp_path, "id", "auto")
        wanted = Resources(memory_bytes=32 * MIB, max_processes=9, cpu_cores=0.5, enforce=True)
        assert limits.missing(cgroups, wanted) == "", cgroups
        places = limits.places_for(cgroups, "tk", 1, wanted)
        limits.apply(places, wanted)
        pid = os.fork()
        if pid == 0:
            for place in places.v1:
                Path(place, "cgroup.procs").write_text("0")
            held = [bytearray(b"x") * MIB for _ in range(200)]
            os._exit(len(held))
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "the limit holds"
        assert "oom_kill 1" in Path(places.v1_memory, "memory.oom_control").read_text()
        for place in filter(None, places):
            os.rmdir(place)
        cgroups.close()

    def inside() -> None:
        for path in delegated:
            (path / "cgroup.procs").write_text("0")
        as_nobody(limit_and_eat)

    try:
        in_child(inside)
    finally:
        for path in delegated:
            path.rmdir()
