"""Writers and readers of the item log are killed at any moment: what was published is delivered once, and in order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metercore.itemlog import ItemLogReader
from metercore.procfs import read_stat
from tests.native.items import events_of
from tests.waiting import wait_until

WRITER = """
import mmap, sys
from metercore.itemlog import ItemLog
log = ItemLog(sys.argv[1])
file = open(sys.argv[2], "rb+")
said = mmap.mmap(file.fileno(), 8)
text = "e" * int(sys.argv[3])
n = 0
print(flush=True)
while True:
    log.item(n, 3, error=text, metadata={"k": "v"})
    n += 1
    if log.dropped_count:
        break
    said[:] = n.to_bytes(8, "little")  # whoever reads this knows that so many were published
"""

READER = """
import os, sys, threading
from metercore.itemlog import ItemLogReader
pause = threading.Event()
offsets = eval(open(sys.argv[2]).read())
reader = ItemLogReader(sys.argv[1], offsets["offsets"])
print(flush=True)
while True:
    batch = reader.read(100_000)
    if batch is None:
        reader.commit()
        pause.wait(0.002)
        continue
    # One transaction: what was read and up to where, by a rename.
    numbers = [(name[1:].decode(), index) for name, *_, indexes in batch.items() for index in indexes]
    numbers = [int(number) for number, index in sorted(numbers, key=lambda pair: pair[1])]
    assert numbers == list(range(offsets["count"], offsets["count"] + len(numbers))), (offsets["count"], numbers[:3])
    assert batch.bad_count == 0
    offsets = {"offsets": {**offsets["offsets"], **batch.offsets}, "count": offsets["count"] + len(numbers)}
    with open(sys.argv[2] + ".new", "w") as file:
        file.write(repr(offsets))
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    for name in reader.commit():
        offsets["offsets"].pop(name, None)
"""


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that do not outlive the test, whatever comes of it."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, *arguments: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield begin
    for process in started:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("follows", [False, True], ids=["read after", "read meanwhile"])
@pytest.mark.parametrize(("most", "length"), [(1, 0), (10, 700), (700, 0), (3000, 700), (20_000, 0), (30_000, 700)])
def test_what_a_killed_writer_published_is_there_and_nothing_else(
    tmp_path: Path, start: Start, most: int, length: int, *, follows: bool
) -> None:
    chance = random.Random(most)
    items, said = tmp_path / "items", tmp_path / "said"
    said.write_bytes(bytes(8))
    writer = start(WRITER, items, said, length)
    reader = ItemLogReader(items)
    numbers: list[int] = []

    def follow() -> int:
        batch = reader.read(chance.choice([0, 50_000, 1 << 20]))
        if batch is None:
            return 0
        assert batch.bad_count == 0
        numbers.extend(event.item_changed.item_id.number for event in events_of(batch))
        reader.commit()
        return batch.count

    def goes_on() -> bool:
        if follows:
            follow()
        return int.from_bytes(said.read_bytes(), "little") >= most

    wait_until(goes_on, "it writes")
    end(writer)
    published = int.from_bytes(said.read_bytes(), "little")
    wait_until(lambda: not follow() and not os.listdir(items), "all is read and removed")
    assert numbers == list(range(len(numbers)))
    assert 0 <= len(numbers) - published <= 1, "the last one may have been published without being counted"


def wait_for(count: Callable[[], int], least: int, reader: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: count() >= least or reader.poll() is not None, "it reads", 60)


@pytest.mark.slow
def test_readers_that_are_killed_deliver_everything_once(tmp_path: Path, start: Start) -> None:
    chance = random.Random(7)
    items, said, done = tmp_path / "items", tmp_path / "said", tmp_path / "done"
    said.write_bytes(bytes(8))
    done.write_text(repr({"offsets": {}, "count": 0}))
    writer = start(WRITER, items, said, 30)

    def count() -> int:
        found = eval(done.read_text())["count"]
        assert isinstance(found, int)
        return found

    for _ in range(15):
        reader = start(READER, items, done)
        before, more = count(), chance.choice([1, 2000, 20_000])
        wait_for(count, before + more, reader)
        assert reader.poll() is None
        end(reader)
    end(writer)
    published = int.from_bytes(said.read_bytes(), "little")
    reader = start(READER, items, done)
    wait_until(lambda: not os.listdir(items) or reader.poll() is not None, "the rest is read", 60)
    assert reader.poll() is None
    end(reader)
    assert 0 <= count() - published <= 1


def test_a_writer_that_is_stopped_is_not_taken_for_dead(tmp_path: Path, start: Start) -> None:
    items, said = tmp_path / "items", tmp_path / "said"
    said.write_bytes(bytes(8))
    writer = start(WRITER, items, said, 0)
    wait_until(lambda: any(said.read_bytes()), "it writes")
    writer.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{writer.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stands")
    reader = ItemLogReader(items)
    counts = [0, 0]

    def follow() -> bool:
        while batch := reader.read():
            counts[0] += batch.count
            reader.commit()
        counts[1] += 1
        return counts[1] > 60  # more than half a second, in which it is looked for twice

    wait_until(follow, "it was looked for")
    assert len(os.listdir(items)) == 1
    writer.send_signal(signal.SIGCONT)
    wait_until(lambda: int.from_bytes(said.read_bytes(), "little") > counts[0] + 5, "it goes on")
    end(writer)
    published = int.from_bytes(said.read_bytes(), "little")
    wait_until(lambda: follow() and not os.listdir(items), "all is read")
    assert 0 <= counts[0] - published <= 1
    assert read_stat(os.getpid())
