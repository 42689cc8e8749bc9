"""Finding cgroups, on made-up trees: what a machine has is not what the next one has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskmeter.executors.cgroups import Cgroups, Places, discover, own_cgroups

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / {root}/memory rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:33 / {root}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / {root}/unified rw,relatime - cgroup2 cgroup2 rw
"""
PURE = "41 31 0:38 / {root}/unified rw,relatime - cgroup2 cgroup2 rw\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def write(proc: Path, mounts: str, own: str) -> None:
    (proc / "mountinfo").write_text(mounts.format(root=proc.parent))
    (proc / "cgroup").write_text(own)


def make_v2(path: Path, controllers: str = "") -> Path:
    """A directory that looks like a v2 cgroup; unlike in the real file system, its files do not appear by themselves."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "procs": "",
        "type": "domain\n",
        "controllers": controllers,
        "subtree_control": "",
        "events": "",
    }.items():
        (path / f"cgroup.{name}").write_text(content)
    (path / "cpu.stat").write_text("usage_usec 0\n")
    return path


def make_v1(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.procs").touch()
    (path / "memory.stat").touch()
    return path


def test_own_cgroups_are_found_by_controller(proc: Path) -> None:
    write(proc, HYBRID, "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice\n")
    root = proc.parent
    assert own_cgroups(proc) == {
        "memory": f"{root}/memory/a/b",
        "cpu": f"{root}/cpu,cpuacct",
        "cpuacct": f"{root}/cpu,cpuacct",
        "": f"{root}/unified/user.slice",
    }


def test_a_mount_of_a_part_of_the_tree_is_resolved(proc: Path) -> None:
    """As in a container: the mount shows /docker/x as its root, and /proc/self/cgroup still says the whole path."""
    write(proc, "41 31 0:38 /docker/x {root}/unified rw - cgroup2 cgroup2 rw\n", "0::/docker/x/inner\n")
    assert own_cgroups(proc) == {"": f"{proc.parent}/unified/inner"}


def test_without_cgroups_tasks_have_none(proc: Path, tmp_path: Path) -> None:
    assert own_cgroups(tmp_path / "nothing") == {}
    write(proc, "", "")
    found = discover(tmp_path, "id", "auto", proc)
    assert (found.v2, found.v1_memory, found.paths("tk_x", 1)) == ("", "", Places())


def test_off_means_none_and_touches_nothing(proc: Path, tmp_path: Path) -> None:
    write(proc, PURE, "0::/\n")
    make_v2(tmp_path / "unified")
    assert discover(tmp_path, "id", "off", proc) == Cgroups()
    assert not (tmp_path / "unified" / "taskmeter-id").exists()


def test_usable_bases_are_made_and_remembered(proc: Path, tmp_path: Path) -> None:
    write(proc, HYBRID, "4:memory:/m\n0::/u\n")
    v2, v1 = make_v2(tmp_path / "unified" / "u"), make_v1(tmp_path / "memory" / "m")
    make_v2(v2 / "taskmeter-id" / "probe")
    make_v1(v1 / "taskmeter-id" / "probe")
    found = discover(tmp_path, "id", "auto", proc)
    assert (found.v2, found.v1_memory) == (f"{v2}/taskmeter-id", f"{v1}/taskmeter-id")
    assert found.paths("tk_x", 2) == Places(f"{v2}/taskmeter-id/tk_x.2", f"{v1}/taskmeter-id/tk_x.2")
    assert (tmp_path / "cgroups").read_text().split() == [found.v2, found.v1_memory]

    write(proc, HYBRID, "0::/elsewhere\n")  # the next daemon runs in another cgroup: what the first one made is still found
    make_v2(v2 / "taskmeter-id" / "tk_x.2")
    make_v1(v1 / "taskmeter-id" / "tk_x.2")
    later = discover(tmp_path, "id", "auto", proc)
    assert (later.v2, later.earlier) == ("", [found.v2, found.v1_memory])
    assert later.find("tk_x", 2) == found.paths("tk_x", 2)
    assert later.find("tk_y", 1) == Places()


@pytest.mark.parametrize("kind", ["threaded\n", "domain invalid\n"])
def test_a_cgroup_that_takes_no_processes_is_not_used(proc: Path, tmp_path: Path, kind: str) -> None:
    write(proc, PURE, "0::/u\n")
    own = make_v2(tmp_path / "unified" / "u")
    (make_v2(own / "taskmeter-id" / "probe") / "cgroup.type").write_text(kind)
    assert discover(tmp_path, "id", "auto", proc).v2 == ""


def test_sweeping_removes_only_what_is_over(tmp_path: Path) -> None:
    base = tmp_path / "taskmeter-id"
    for name in ("tk_a.1", "tk_a.2", "tk_b.1", "probe", "other"):
        (base / name).mkdir(parents=True)
    (base / "tk_b.1" / "busy").mkdir()
    assert Cgroups(v2=str(base)).sweep(lambda token, attempt: (token, attempt) != ("tk_a", 2)) == 1
    assert sorted(os.listdir(base)) == ["other", "probe", "tk_a.2", "tk_b.1"]


def test_an_emptied_base_of_an_earlier_daemon_is_removed(tmp_path: Path) -> None:
    base = tmp_path / "taskmeter-id"
    (base / "tk_a.1").mkdir(parents=True)
    Cgroups(earlier=[str(base), str(tmp_path / "missing")]).sweep(lambda _token, _attempt: True)
    assert not base.exists()


def test_pure_v2_gets_the_memory_controller_through_a_leaf(proc: Path, tmp_path: Path) -> None:
    write(proc, PURE, "0::/u\n")
    own = make_v2(tmp_path / "unified" / "u", controllers="cpu memory pids")
    base = make_v2(own / "taskmeter-id", controllers="memory pids")
    make_v2(base / "probe")
    assert discover(tmp_path, "id", "auto", proc).v2 == str(base)
    assert (own / "cgroup.subtree_control").read_text() == "+pids", "a file keeps the last of what was written to it one by one"
    assert (base / "cgroup.subtree_control").read_text() == "+pids"  # the last one that was written


def test_a_daemon_started_in_the_leaf_works_beside_it(proc: Path, tmp_path: Path) -> None:
    write(proc, PURE, "0::/u/daemon\n")
    own = make_v2(tmp_path / "unified" / "u", controllers="memory")
    (own / "cgroup.subtree_control").write_text("memory")
    make_v2(own / "daemon")
    make_v2(own / "taskmeter-id" / "probe")
    assert discover(tmp_path, "id", "auto", proc).v2 == f"{own}/taskmeter-id"
