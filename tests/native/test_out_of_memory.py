"""Without memory nothing that is billed goes missing in silence: it is refused, or taken once there is some again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metercore.report import ReportBlock
from metercore.sampler import Sampler
from metercore.tariff import Tariff
from taskmeter.v1 import task_pb2

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def no_memory() -> Iterator[None]:
    """Within, calloc.c has none."""
    fails = ctypes.c_int.in_dll(ctypes.CDLL(None), "calloc_fails")
    fails.value = 1
    try:
        yield
    finally:
        fails.value = 0


def test_without_memory_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    library = tmp_path / "calloc.so"
    source = Path(__file__).with_name("calloc.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(source)], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    subprocess.run([sys.executable, "-m", __name__, str(tmp_path)], check=True, cwd=ROOT, env=environment, timeout=60)


def shown(sampler: Sampler, handle: int) -> task_pb2.TaskStatus:
    return task_pb2.TaskStatus.FromString(sampler.hot(handle))


def child(directory: Path) -> None:
    (directory / "task").mkdir()
    block = ReportBlock(directory / "task" / "report")
    sampler = Sampler(start=False)
    tariff = Tariff("gold", 2, custom={"pages": 2.0})
    handle = sampler.open(os.getppid(), os.getpid(), str(directory), tariff=tariff)
    before = shown(sampler, handle).tokens
    with no_memory():
        sampler.set_earlier(handle, 0, 0, custom={"other": 5})  # of what has no price there is nothing to keep
        with pytest.raises(MemoryError):
            sampler.set_earlier(handle, 10**9, 2**70, custom={"pages": 5})
        assert shown(sampler, handle).tokens == before
    sampler.set_earlier(handle, 0, 0, custom={"pages": 5})
    assert shown(sampler, handle).tokens.total - before.total >= 10.0

    second = sampler.open(os.getppid(), os.getpid(), str(directory), tariff=tariff)
    block.status("working")
    block.count("pages", 3)
    with no_memory():
        sampler.tick(skip_seconds=1.5)
    sampler.tick(skip_seconds=1.5)
    status = shown(sampler, second)
    assert status.status == "working", "the text came late, and not never"
    assert status.tokens.custom["pages"] == 6.0
    with no_memory():
        with pytest.raises(MemoryError):
            sampler.read(second)
        assert sampler.finish(second).status == "working"  # moved, not copied


if __name__ == "__main__":
    child(Path(sys.argv[1]))
