"""The sampler's histories of real trees: what a busy and an idle time look like, live, at the end, and over a restart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from metercore.historyfile import HistoryPoint, read_history
from metercore.sampler import Sampler
from tests.native.conftest import Plant
from tests.native.trees import MIB, python
from tests.waiting import wait_until

PHASES = """
import signal, time
block = bytearray(b"x") * (60 * 2**20)
begin = time.process_time()
while time.process_time() - begin < 2.5: pass
del block
open("rested", "w").write("x\\n")
signal.pause()
"""


def test_a_busy_and_an_idle_time_show_as_such_and_stay_when_the_slot_is_closed(planted: Plant) -> None:
    tree = planted(*python(PHASES))
    sampler = Sampler(2.0)  # a busy machine that skips half a second is no gap at this rate
    handle = tree.open(sampler)
    tree.wait_for("rested")

    def points() -> list[HistoryPoint]:
        return sampler.history(handle)[1]

    before = len(points())
    live = wait_until(lambda: len(found := points()) >= before + 3 and found, "three idle seconds")
    assert max(point.cpu_cores_max for point in live) > 0.2, "also where others want the processor as well"
    assert max(point.cpu_cores for point in live[-2:]) < 0.1
    assert live[1].memory_bytes_max > 60 * MIB
    assert live[-2].memory_bytes < 40 * MIB
    assert sum(point.cpu_cores * point.covered_seconds for point in live) == pytest.approx(2.5, rel=0.1)
    assert [round(b.time - a.time, 6) for a, b in pairwise(live)] == [1.0] * (len(live) - 1)
    assert not any(point.gap for point in live)
    tree.end()
    sampler.finish(handle)
    seconds, kept = read_history(tree.directory)
    assert seconds == 1.0
    assert kept[: len(live) - 1] == live[:-1]
    with pytest.raises(KeyError):
        sampler.history(handle)
    sampler.close()


def test_a_sampler_that_closes_writes_and_the_next_one_goes_on(planted: Plant) -> None:
    tree = planted(*python("open('up', 'w').write('x\\n')\nwhile True: pass"))
    tree.wait_for("up")
    first = Sampler(2.0, start=False)
    tree.open(first)
    for _ in range(5):
        first.tick(skip_seconds=1.0)
    assert read_history(tree.directory)[1] == [], "nothing is written in the first ten seconds"
    first.close()
    kept = read_history(tree.directory)[1]
    assert len(kept) >= 5 and not any(point.gap for point in kept)
    second = Sampler(2.0, start=False)
    handle = tree.open(second)
    for _ in range(3):
        second.tick(skip_seconds=1.0)
    found = second.history(handle)[1]
    assert found[:4] == kept[:4]
    assert any(point.gap for point in found[4:])
    assert [point.time for point in found] == sorted({point.time for point in found})
    second.finish(handle)


def test_a_task_that_lasted_under_a_second_leaves_no_file(planted: Plant) -> None:
    tree = planted(*python("pass"))
    sampler = Sampler(start=False)
    handle = tree.open(sampler)
    tree.gone()
    sampler.finish(handle)
    assert not (Path(tree.directory) / "history").exists() or read_history(tree.directory)[1]
