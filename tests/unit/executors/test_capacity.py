"""What a host has, under the limits of the daemon's own cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from taskmeter.executors.capacity import HostCapacity, cpu_cores, memory_bytes
from taskmeter.model.resources import Gpu


def own_groups(root: Path) -> list[Path]:
    """Make this process's cgroups below `root`, those of version 2 at `root` itself."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        group = root / controllers / path.lstrip("/") if controllers else root / path.lstrip("/")
        group.mkdir(parents=True, exist_ok=True)
        made.append(group)
    return made


def test_without_limits_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert cpu_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "1048576", "cpu.max": "50000 100000"},
        {"memory.limit_in_bytes": "1048576", "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"},
    ],
    ids=["v2", "v1"],
)
def test_the_limits_of_its_own_cgroups_hold(tmp_path: Path, files: dict[str, str]) -> None:
    for group in own_groups(tmp_path):
        for name, text in files.items():
            (group / name).write_text(text + "\n")
    assert (memory_bytes(tmp_path), cpu_cores(tmp_path)) == (1048576, 0.5)


def test_no_limit_is_none_and_never_nothing(tmp_path: Path) -> None:
    for group in own_groups(tmp_path):
        for name, text in {"memory.max": "max", "cpu.max": "max 100000", "cpu.cfs_quota_us": "-1"}.items():
            (group / name).write_text(text + "\n")
    assert memory_bytes(tmp_path) > 2**26
    assert cpu_cores(tmp_path) >= 1


def test_gpus_are_remembered_while_their_driver_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 1.0, 2.0])
    monkeypatch.setattr("taskmeter.executors.capacity.monotonic", lambda: next(clock))
    answers = iter([(), (Gpu("GPU-a"),), ()])
    capacity = HostCapacity(lambda: next(answers))
    seen = [capacity().gpus for _ in range(4)]
    assert seen == [(), (), (Gpu("GPU-a"),), (Gpu("GPU-a"),)]
