"""The sampler on a process that ran before: CPU counts from then on, of descendants too, once, and over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.sampler import Sampler
from taskmeter.model.usage import MetricsSource
from tests.native.trees import MIB
from tests.targets import Targets, go_on, hear

STEPS = """
import os, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def child(seconds):
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        burn(seconds)
        os.close(1)
        os.write(done, b"x")
        time.sleep(600)
    os.read(ready, 1)
    return pid
def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)
def step():
    print(time.process_time(), flush=True)
    sys.stdin.readline()
"""
"""`child(s)` returns when the child has burned; `step()` says how much CPU the process itself has used, and waits to be told."""
SWEEP_SECONDS = 30.0
"""Longer than the sampler would wait for its next look through a full /proc."""


@pytest.fixture
def targets() -> Iterator[Targets]:
    with Targets() as made:
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "task").mkdir()
    return tmp_path


def start_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def attach(sampler: Sampler, pid: int, directory: Path, *, include_descendants: bool = False) -> int:
    return sampler.open(
        0, pid, str(directory), attached=True, include_descendants=include_descendants, main_start_ticks=start_ticks(pid)
    )


def look(sampler: Sampler, handle: int) -> int:
    """Sample once, new processes looked for; return the CPU that is billed."""
    sampler.tick(SWEEP_SECONDS)
    return sampler.read(handle).cpu_ns


def test_what_it_had_used_before_is_not_billed(targets: Targets, directory: Path) -> None:
    target = targets.python(STEPS + "burn(1); step(); burn(0.3); step()")
    before = float(hear(target))
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory)
    go_on(target)
    used_ns = (float(hear(target)) - before) * 1e9
    assert used_ns * 0.99 < look(sampler, handle) < used_ns * 1.02
    reading = sampler.read(handle)
    assert (reading.process_count, reading.source) == (1, MetricsSource.CLOCK)
    assert reading.memory_bytes > MIB


def test_a_pid_that_came_round_is_not_metered(targets: Targets, directory: Path) -> None:
    target = targets.python(STEPS + "step(); burn(0.2); step()")
    hear(target)
    sampler = Sampler(start=False)
    handle = sampler.open(0, target.pid, str(directory), attached=True, main_start_ticks=start_ticks(target.pid) - 1)
    go_on(target)
    hear(target)
    assert look(sampler, handle) == 0
    assert sampler.read(handle).memory_bytes == 0


def test_an_older_child_is_billed_from_when_it_was_found_and_not_again_when_it_is_waited_for(
    targets: Targets, directory: Path
) -> None:
    target = targets.python(STEPS + "old = child(1); step(); end(old); step()")
    hear(target)
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory, include_descendants=True)
    assert look(sampler, handle) < 0.3e9
    assert sampler.read(handle).process_count == 2
    go_on(target)
    hear(target)
    assert look(sampler, handle) < 0.3e9
    assert sampler.read(handle).process_count == 1


def test_younger_children_are_billed_whole_and_once_whether_they_were_seen_or_not(targets: Targets, directory: Path) -> None:
    code = "step(); seen = child(0.5); step(); end(seen); unseen = child(0.5); end(unseen); step()"
    target = targets.python(STEPS + code)
    hear(target)
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory, include_descendants=True)
    look(sampler, handle)
    go_on(target)
    hear(target)
    assert 0.45e9 < look(sampler, handle) < 0.75e9
    go_on(target)
    hear(target)
    assert 0.9e9 < look(sampler, handle) < 1.3e9


def test_children_are_not_billed_unless_they_are_included(targets: Targets, directory: Path) -> None:
    target = targets.python(STEPS + "step(); young = child(0.5); end(young); step()")
    hear(target)
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory)
    go_on(target)
    hear(target)
    assert look(sampler, handle) < 0.2e9


@pytest.mark.parametrize("include_descendants", [False, True])
def test_over_a_restart_nothing_is_billed_twice_and_nothing_is_missed(
    targets: Targets, directory: Path, *, include_descendants: bool
) -> None:
    code = "old = child(0.5); burn(0.5); step(); burn(0.5); step(); burn(0.5); step(); end(old); step()"
    target = targets.python(STEPS + code)
    before = float(hear(target))
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory, include_descendants=include_descendants)
    look(sampler, handle)
    go_on(target)
    used_ns = (float(hear(target)) - before) * 1e9
    billed_ns = look(sampler, handle)
    assert used_ns * 0.99 < billed_ns < used_ns * 1.03
    sampler.close()
    go_on(target)
    used_ns = (float(hear(target)) - before) * 1e9
    sampler = Sampler(start=False)
    handle = attach(sampler, target.pid, directory, include_descendants=include_descendants)
    assert used_ns * 0.99 < look(sampler, handle) < used_ns * 1.03
    go_on(target)
    used_ns = (float(hear(target)) - before) * 1e9
    assert used_ns * 0.99 < look(sampler, handle) < used_ns * 1.1
    reading = sampler.finish(handle, reaped_cpu_ns=int(used_ns * 1.2))
    assert reading.cpu_ns == int(used_ns * 1.2)
    assert reading.source == MetricsSource.CLOCK
