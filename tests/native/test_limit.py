"""How many cores a process may use: doctored control groups, and real ones of this machine."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from metercore.limit import CpuLimit, allowed_cores, percent, quota_cores
from tests.waiting import wait_until

ONLINE = os.sysconf("SC_NPROCESSORS_ONLN")


class Machine:
    """A procfs and mounted hierarchies of files; the process is this one, so that its affinity is real."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[str] = []
        (directory / "proc/self").mkdir(parents=True)
        self.belong("0::/\n")

    def mount(self, kind: str, root: str, point: str, options: str = "rw") -> Path:
        path = self.directory / point
        path.mkdir(parents=True)
        shown = str(path).replace("\\", "\\134").replace(" ", "\\040")
        root = root.replace(" ", "\\040")
        self.lines.append(
            f"{30 + len(self.lines)} 23 0:28 {root} {shown} rw,nosuid shared:5 master:1 - {kind} {kind} {options}\n"
        )
        (self.directory / "proc/self/mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/root rw\n" + "".join(self.lines))
        return path

    def belong(self, text: str) -> None:
        (self.directory / "proc/self/cgroup").write_text(text)
        (self.directory / "proc/self/mountinfo").touch()

    def limit(self) -> CpuLimit:
        return CpuLimit(proc=str(self.directory / "proc"))


def allow(group: Path, cores: float | None) -> None:
    """Set a quota as v2 has it."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.max").write_text("max 100000\n" if cores is None else f"{int(cores * 100_000)} 100000\n")


def allow_v1(group: Path, cores: float | None) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n" if cores is None else f"{int(cores * 50_000)}\n")
    (group / "cpu.cfs_period_us").write_text("50000\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_lowest_quota_of_all_ancestors_counts(machine: Machine) -> None:
    mount = machine.mount("cgroup2", "/", "unified")
    machine.belong("0::/system/service/leaf\n")
    allow(mount / "system", 0.75)
    allow(mount / "system/service", None)
    allow(mount / "system/service/leaf", 3.0)
    allow(mount / "system/service/sibling", 0.01)
    limit = machine.limit()
    assert limit.quota_cores == limit.cores == 0.75
    allow(mount / "system/service/leaf", 0.5)
    assert limit.quota_cores == 0.75, "as of the last refresh"
    assert limit.refresh() == limit.cores == 0.5


def test_quotas_of_both_versions_count(machine: Machine) -> None:
    v2 = machine.mount("cgroup2", "/", "unified")
    machine.mount("cgroup", "/", "cpuset", "rw,cpuset")
    v1 = machine.mount("cgroup", "/", "cpu,cpuacct", "rw,cpuacct,cpu")
    machine.belong("3:cpuset:/none\n2:cpuacct,cpu:/one/two\n1:name=systemd:/x\n0::/three\n")
    allow(v2 / "three", 1.5)
    allow_v1(v1 / "one/two", None)
    allow_v1(v1 / "one", 0.25)
    limit = machine.limit()
    assert limit.quota_cores == 0.25
    allow(v2 / "three", 0.125)
    limit.refresh()
    assert limit.quota_cores == 0.125


def test_a_container_sees_its_own_part_of_the_hierarchy_at_the_mount_point(machine: Machine) -> None:
    mount = machine.mount("cgroup", "/docker/0123", "cpu", "rw,cpu")
    machine.belong("1:cpu:/docker/0123/job\n")
    allow_v1(mount, 0.5)
    allow_v1(mount / "job", None)
    allow_v1(mount / "docker/0123/job", 0.125)
    assert machine.limit().quota_cores == 0.5
    allow_v1(mount / "job", 0.25)
    assert machine.limit().quota_cores == 0.25
    machine.belong("1:cpu:/docker/0123\n")
    assert machine.limit().quota_cores == 0.5


@pytest.mark.parametrize("path", ["/docker/01234/job", "/docker", "/", "/../other", "/.."])
def test_a_process_outside_of_what_is_mounted_has_no_known_quota(machine: Machine, path: str) -> None:
    mount = machine.mount("cgroup2", "/docker/0123", "unified")
    machine.belong(f"0::{path}\n")
    allow(mount, 0.5)
    assert machine.limit().quota_cores is None


@pytest.mark.parametrize("path", ["/..", "/../sibling"])
def test_a_process_outside_of_our_namespace_has_no_known_quota(machine: Machine, path: str) -> None:
    mount = machine.mount("cgroup2", "/", "unified")
    machine.belong(f"0::{path}\n")
    allow(mount, 0.5)
    allow(mount / "sibling", 0.25)
    assert machine.limit().quota_cores is None
    machine.belong("0::/..dots\n")
    assert machine.limit().quota_cores == 0.5, "a name may begin with dots"


def test_of_several_mounts_the_one_that_shows_the_most_counts(machine: Machine) -> None:
    part = machine.mount("cgroup2", "/a/b", "part")
    whole = machine.mount("cgroup2", "/", "whole")
    machine.mount("cgroup2", "/a", "other")
    machine.belong("0::/a/b\n")
    allow(part, 0.75)
    allow(whole / "a", 0.5)
    assert machine.limit().quota_cores == 0.5


def test_paths_may_have_blanks_and_backslashes(machine: Machine) -> None:
    mount = machine.mount("cgroup2", "/my pods", "my \\mounts")
    machine.belong("0::/my pods/a b: c\n")
    allow(mount / "a b: c", 0.5)
    assert machine.limit().quota_cores == 0.5


def test_without_quotas_the_affinity_counts(machine: Machine) -> None:
    assert machine.limit().quota_cores is None
    machine.belong("0::/gone (deleted)\n")
    allow(machine.mount("cgroup2", "/", "unified"), None)
    limit = machine.limit()
    assert limit.quota_cores is None
    assert limit.cores == limit.affinity_count == len(os.sched_getaffinity(0))
    assert limit.online_count == ONLINE
    allow(machine.directory / "unified", 10_000.0)
    assert limit.refresh() == limit.affinity_count


@pytest.mark.parametrize("text", ["max 100000", "", "x\n", "5000\n", "5000 0\n", "-1 100000\n", "0 100000\n"])
def test_what_is_no_quota_limits_nothing(machine: Machine, text: str) -> None:
    mount = machine.mount("cgroup2", "/", "unified")
    (mount / "cpu.max").write_text(text)
    assert machine.limit().quota_cores is None


@pytest.mark.parametrize("text", ["0::/cut off", "x\n", "1:cpu\n", "\n"])
def test_a_malformed_membership_is_an_error(machine: Machine, text: str) -> None:
    machine.belong(text)
    with pytest.raises(OSError, match="cgroup"):
        machine.limit()


def test_long_and_hostile_paths_are_harmless(machine: Machine) -> None:
    mount = machine.mount("cgroup2", "/", "unified")
    allow(mount, 0.5)
    machine.belong(f"0::/{'n' * 200}{'/n' * 1900}\n")
    assert machine.limit().quota_cores == 0.5
    machine.belong(f"0::/{'n' * 5000}\n")
    assert machine.limit().quota_cores is None
    machine.lines.append(f"40 23 0:28 /{'r' * 9000} /{'p' * 9000} rw - cgroup cgroup rw,cpu\n40 23 - cgroup\n-\n - \n")
    machine.mount("cgroup", "/", "cpu", "rw,cpu")
    assert machine.limit().quota_cores is None


def test_percent_is_of_what_may_be_used_and_at_most_all() -> None:
    assert percent(0.25, 0.5) == 50.0
    assert percent(0.6, 0.5) == 100.0
    assert percent(0.0, 64.0) == 0.0
    limit = CpuLimit()
    assert limit.percent(limit.cores / 2) == 50.0
    for cores, allowed in ((-0.1, 1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="cores"):
            percent(cores, allowed)
    for allowed in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="allowed"):
            percent(1.0, allowed)


def test_this_process_has_a_limit() -> None:
    limit = CpuLimit()
    assert limit.pid == os.getpid()
    assert allowed_cores() == allowed_cores(os.getpid()) == limit.cores
    assert 0.0 < limit.cores <= ONLINE
    quota = quota_cores()
    assert quota is None or quota > 0.0


def test_a_process_that_is_gone_is_an_error() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        allowed_cores(child.pid)
    with pytest.raises(FileNotFoundError, match="mountinfo"):
        CpuLimit(proc="/nowhere")


@pytest.fixture
def sleeper() -> Iterator[psutil.Popen]:
    child = psutil.Popen([sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    yield child
    child.kill()
    child.communicate()


def test_the_affinity_of_another_process_counts(sleeper: psutil.Popen) -> None:
    sleeper.cpu_affinity([min(os.sched_getaffinity(0))])
    limit = CpuLimit(sleeper.pid)
    assert limit.affinity_count == 1
    assert limit.cores == min(1.0, quota_cores(sleeper.pid) or 1.0)


def quota_bases() -> Iterator[Path]:
    """Where this machine could have control groups with quotas."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, point, options = fields[fields.index("-") + 1], Path(fields[4]), fields[-1].split(",")
        v1 = kind == "cgroup" and "cpu" in options
        if v1 or (kind == "cgroup2" and "cpu" in (point / "cgroup.subtree_control").read_text().split()):
            yield point


def set_quota(group: Path, cores: float) -> None:
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
    else:
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a control group of this machine with quotas, and one in it."""
    made: list[Path] = []
    try:
        for base in quota_bases():
            made = [base / f"taskmeter-limit-{os.getpid()}"]
            made.append(made[0] / "inner")
            try:
                made[1].mkdir(parents=True)
                set_quota(made[0], 0.5)
            except OSError:
                made = [each for each in reversed(made) if each.exists() and not removed(each)][::-1]
                continue
            if not (made[1] / "cpu.max").exists() and (made[0] / "cpu.max").exists():
                (made[0] / "cgroup.subtree_control").write_text("+cpu")
            break
        else:
            pytest.skip("no control group with CPU quotas can be made here")
        yield made[0]
    finally:
        for each in reversed(made):
            if each.exists():
                wait_until(lambda each=each: removed(each), f"{each} is removed")  # type: ignore[misc]


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="control groups at the top of a hierarchy need root")
def test_a_real_quota_limits_the_processes_in_the_group_and_below(group: Path, sleeper: psutil.Popen) -> None:
    limit = CpuLimit(sleeper.pid)
    before = limit.cores
    (group / "inner/cgroup.procs").write_text(str(sleeper.pid))
    assert limit.refresh() == limit.quota_cores == 0.5
    set_quota(group / "inner", 0.25)
    assert limit.refresh() == allowed_cores(sleeper.pid) == quota_cores(sleeper.pid) == 0.25
    assert limit.percent(0.125) == 50.0
    (group.parent / "cgroup.procs").write_text(str(sleeper.pid))
    assert limit.refresh() >= before
