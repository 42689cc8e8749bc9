"""Which source of process figures is used, and that one which fails is replaced without a visible break."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore import bpf
from metercore.backend import examine, name_of, source_of
from metercore.sampler import Sampler
from taskmeter.model.usage import MetricsSource
from tests.native.users import as_nobody
from tests.waiting import wait_until

MANY = 80
"""More than the 64 from which on a pass over all processes may pay."""

needs_bpf = pytest.mark.root  # root of the initial pid namespace, as in CI


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A process with many children that sleep, in an attempt directory. It is the root itself: below us others may run."""
    (tmp_path / "task").mkdir()
    code = (
        f"import os, signal, sys\nfor _ in range({MANY}):\n"
        " if os.fork() == 0:\n  signal.pause()\n"
        "print('up', flush=True)\nwhile os.read(0, 1) == b'x':\n sum(range(10**6))\n print('done', flush=True)"
    )
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        yield tmp_path, parent
        os.killpg(parent.pid, signal.SIGKILL)


def test_the_names_are_those_of_the_contract() -> None:
    for found in examine():
        assert MetricsSource(source_of(found.name)).name == found.name.upper()
        assert name_of(source_of(found.name)) == found.name
        assert found.reason
    assert source_of("auto") == 0
    with pytest.raises(ValueError, match="back end"):
        source_of("magic")
    with pytest.raises(ValueError, match="back end"):
        Sampler(start=False, backend="magic")


@pytest.mark.parametrize("name", ["clock", "procfs", "bpf"])
def test_a_forced_source_is_used_or_refused_with_its_reason(name: str, family: tuple[Path, subprocess.Popen[bytes]]) -> None:
    works = {found.name: found for found in examine()}[name]
    if not works.works:
        with pytest.raises(OSError, match=works.reason.partition(";")[0].split()[0]):
            Sampler(start=False, backend=name)
        return
    directory, parent = family
    sampler = Sampler(start=False, backend=name)
    handle = sampler.open(parent.pid, parent.pid, str(directory))
    for _ in range(2):
        sampler.tick(skip_seconds=1.0)
    reading = sampler.read(handle)
    assert sampler.backend == name
    assert reading.source == source_of(name)
    assert reading.process_count == MANY + 1


def test_few_processes_are_asked_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    sampler = Sampler(start=False)
    with subprocess.Popen(["sleep", "1000"]) as alone:
        sampler.open(alone.pid, alone.pid, str(tmp_path))
        sampler.tick(skip_seconds=1.0)
        assert sampler.backend == "clock"
        alone.kill()


@needs_bpf
def test_a_pass_that_fails_is_replaced_in_the_same_tick_and_tried_again(family: tuple[Path, subprocess.Popen[bytes]]) -> None:
    if (reason := bpf.probe()) is not None:
        with pytest.raises(OSError, match=reason.partition(";")[0].split()[0]):
            Sampler(start=False, backend="bpf")
        return
    directory, parent = family
    assert parent.stdin is not None
    assert parent.stdout is not None
    sampler = Sampler(start=False)
    handle = sampler.open(parent.pid, parent.pid, str(directory))
    for _ in range(3):
        sampler.tick(skip_seconds=1.0)
    before = sampler.read(handle)
    assert sampler.backend == "bpf", "so many are worth a pass"
    assert before.source == MetricsSource.BPF
    link = next(int(name) for name in os.listdir("/proc/self/fd") if "bpf_link" in _target(name))
    os.dup2(os.open("/dev/null", os.O_RDONLY), link)  # nothing that can be iterated any more
    parent.stdin.write(b"x")
    parent.stdin.flush()
    assert parent.stdout.readline() == b"done\n"
    sampler.tick(skip_seconds=1.0)
    now = sampler.read(handle)
    assert sampler.backend == "clock"
    assert now.source == MetricsSource.CLOCK
    assert now.cpu_ns > before.cpu_ns, "what was used in that very tick is there"
    assert now.process_count == before.process_count
    for _ in range(11):
        sampler.tick(skip_seconds=1.0)
    assert sampler.backend == "bpf", "tried again"
    assert sampler.read(handle).cpu_ns >= now.cpu_ns


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


def test_all_sources_agree_on_the_total(family: tuple[Path, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    directory, parent = family
    assert parent.stdin is not None
    assert parent.stdout is not None
    samplers = {}
    for found in examine():
        if found.works:
            own = tmp_path / found.name
            (own / "task").mkdir(parents=True)
            sampler = Sampler(start=False, backend=found.name)
            samplers[found.name] = (sampler, sampler.open(parent.pid, parent.pid, str(own)))
    for _ in range(20):
        parent.stdin.write(b"x")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"done\n"
    del directory

    def totals() -> dict[str, int]:
        for sampler, _ in samplers.values():
            sampler.tick(skip_seconds=1.0)
        return {name: sampler.read(handle).cpu_ns for name, (sampler, handle) in samplers.items()}

    def agree() -> bool:
        found = totals()
        # stat counts in ticks of 10 ms, rounded down for each process.
        return found["clock"] > 10**8 and all(abs(found["clock"] - each) <= (MANY + 1) * 20 * 10**6 for each in found.values())

    wait_until(agree, "all agree")
    exact = totals()
    if "bpf" in exact:
        assert exact["bpf"] == pytest.approx(exact["clock"], rel=0.01)


@pytest.mark.root
def test_an_ordinary_user_gets_the_clocks_and_the_reason_why_not_more() -> None:
    def look() -> None:
        found = {each.name: each for each in examine()}
        assert not found["bpf"].works
        assert "CAP_BPF" in found["bpf"].reason
        assert found["clock"].works
        assert Sampler(start=False).backend == "clock"
        with pytest.raises(OSError, match="CAP_BPF"):
            Sampler(start=False, backend="bpf")

    as_nobody(look)
