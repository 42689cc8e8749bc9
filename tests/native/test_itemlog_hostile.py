"""Whatever lies where an item log is expected: the reader neither dies of it, nor waits, nor grows; only what was hit is lost."""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.itemlog import ItemLog, ItemLogReader
from metercore.procfs import read_stat
from tests.native import items as made
from tests.native.items import HEAD_BYTES, record, row, segment, take
from tests.waiting import wait_until

DEAD = "4194304-5-1"
"""Of a process that cannot be: the largest pid is one less."""


@pytest.fixture
def items(tmp_path: Path) -> Path:
    directory = tmp_path / "items"
    directory.mkdir()
    return directory


def own(number: int = 1) -> str:
    """A name as this process, which lives, would give it."""
    return f"{os.getpid()}-{read_stat(os.getpid()).start_ticks}-{number}"


def put(directory: Path, data: bytes, name: str = DEAD) -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def test_the_layout_that_tests_write_is_that_of_the_header(items: Path) -> None:
    put(items, segment(DEAD, *row(3)))
    taken = take(items)
    assert (taken.numbers(), taken.bad_count, taken.gone) == ([0, 1, 2], 0, [DEAD])
    log = ItemLog(items)
    log.item(0, 3)
    [name] = os.listdir(items)
    whole = (items / name).read_bytes()
    time_ns = struct.unpack_from("<q", whole, HEAD_BYTES + 16)[0]
    wanted = record(HEAD_BYTES, id_kind=made.NUMBER, texts=(bytes(8),), time_ns=time_ns)
    assert whole[HEAD_BYTES : HEAD_BYTES + len(wanted)] == wanted
    assert struct.unpack_from("<QIIIIQQ", whole) == (made.MAGIC, 1, 128, os.getpid(), 0, *map(int, name.split("-")[1:]))
    assert struct.unpack_from("<QI", whole, 64) == (HEAD_BYTES + len(wanted), 0)


@pytest.mark.parametrize("bit", range(0, 56 * 8, 5))
def test_a_flipped_bit_costs_one_record(items: Path, bit: int) -> None:
    records = row(9)
    damaged = bytearray(records[4])
    damaged[bit // 8] ^= 1 << bit % 8
    put(items, segment(DEAD, *records[:4], bytes(damaged), *records[5:]))
    taken = take(items)
    assert taken.numbers() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert taken.bad_count == 1
    assert taken.gone == [DEAD]


@pytest.mark.parametrize("most_bytes", [0, 1 << 20])
def test_rubbish_between_records_is_stepped_over(items: Path, most_bytes: int) -> None:
    chance = random.Random(1)
    first = row(5)
    place = HEAD_BYTES + sum(map(len, first))
    rubbish = chance.randbytes(100_000)
    second = row(5, 5, place + len(rubbish))
    put(items, segment(DEAD, *first, rubbish, *second))
    taken = take(items, most_bytes)
    assert taken.numbers() == list(range(10))
    assert taken.bad_count == 1


def test_a_record_at_another_place_is_none(items: Path) -> None:
    records = row(3)
    put(items, segment(DEAD, records[0], records[0], records[2]))
    taken = take(items)
    assert (taken.numbers(), taken.bad_count) == ([0, 2], 1)


@pytest.mark.parametrize(
    "impossible",
    [
        record(HEAD_BYTES, kind=0),
        record(HEAD_BYTES, kind=9),
        record(HEAD_BYTES, code=0),
        record(HEAD_BYTES, code=7),
        record(HEAD_BYTES, kind=made.STEP, code=5),
        record(HEAD_BYTES, kind=made.STEP, texts=(b"a", b"", b"", b"s", b"", b"\x01\0\x01\0kv")),
        record(HEAD_BYTES, kind=made.MESSAGE, code=5, id_kind=0, texts=(b"",)),
        record(HEAD_BYTES, kind=made.MESSAGE, texts=(b"with a name",)),
        record(HEAD_BYTES, kind=made.MESSAGE, id_kind=0, texts=(b"", b"", b"", b"", b"x" * 4001)),
        record(HEAD_BYTES, id_kind=0),
        record(HEAD_BYTES, id_kind=4),
        record(HEAD_BYTES, id_kind=made.NUMBER, texts=(b"short",)),
        record(HEAD_BYTES, id_kind=made.JSON, texts=(b"",)),
        record(HEAD_BYTES, texts=(b"x" * 1025,)),
        record(HEAD_BYTES, texts=(b"a", b"x" * 201)),
        record(HEAD_BYTES, texts=(b"a", b"", b"x" * 201)),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"step")),
        record(HEAD_BYTES, kind=made.STEP, texts=(b"a", b"", b"", b"x" * 201)),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"", b"x" * 2001)),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"", b"", b"\0\0\0\0" * 1001)),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"", b"", b"\x05\0\x05\0")),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"", b"", b"\x01")),
        record(HEAD_BYTES, texts=(b"a", b"", b"", b"", b"", b"\xff\xff\xff\xff")),
        record(HEAD_BYTES, lengths=(65535, 0, 0, 0, 0, 0)),
        record(HEAD_BYTES, lengths=(65535, 65535, 65535, 65535, 65535, 65535)),
        record(HEAD_BYTES, lengths=(0, 0, 0, 0, 0, 0), texts=(b"x" * 9,)),
    ],
)
def test_a_record_that_says_what_cannot_be_is_left_out(items: Path, impossible: bytes) -> None:
    put(items, segment(DEAD, impossible, *row(2, 1, HEAD_BYTES + len(impossible))))
    taken = take(items)
    assert taken.numbers() == [1, 2]
    assert taken.bad_count == 1


def test_impossible_numbers_and_texts_are_put_right(items: Path) -> None:
    nan = struct.unpack("<q", struct.pack("<d", float("nan")))[0]
    wrong = b"\xff\xc0\x80ok\xed\xa0\x80"
    first = record(HEAD_BYTES, time_ns=-5, value=-7, attempt=-3, texts=(wrong, wrong, wrong, b"", wrong, b"\x01\0\x01\0\xff\xfe"))
    second = record(HEAD_BYTES + len(first), made.STEP, timed=1, value=nan, time_ns=2**63 - 1, texts=(b"a", b"", b"", wrong))
    third = record(HEAD_BYTES + len(first) + len(second), made.DROPPED, value=-(2**63), texts=(b"",))
    fourth = record(
        HEAD_BYTES + sum(map(len, (first, second, third))), made.MESSAGE, id_kind=0, texts=(b"", b"", b"", b"", wrong)
    )
    put(items, segment(DEAD, first, second, third, fourth))
    batch = ItemLogReader(items).read()
    assert batch is not None
    assert (batch.bad_count, batch.dropped_count, batch.count) == (0, 0, 3)
    changed, step, message = made.events_of(batch)
    repaired = "???ok???"
    assert (changed.item_changed.item_id.text, changed.item_changed.stage, changed.time) == (repaired, repaired, 0.0)
    assert (changed.item_changed.size, changed.item_changed.attempt) == (0, 0)
    assert dict(changed.item_changed.metadata) == {"?": "?"}
    assert not step.step.HasField("duration_seconds")
    assert step.step.step == message.message.text == repaired
    assert batch.items()[0][0] == b"s" + repaired.encode()


def test_of_equal_metadata_keys_the_last_counts(items: Path) -> None:
    entries = b"".join(struct.pack("<HH", 1, 1) + pair for pair in (b"b1", b"a1", b"b2", b"a2", b"b3"))
    put(items, segment(DEAD, record(HEAD_BYTES, texts=(b"x", b"", b"", b"", b"", entries))))
    batch = ItemLogReader(items).read()
    assert batch is not None
    assert dict(made.events_of(batch)[0].item_changed.metadata) == {"a": "2", "b": "3"}
    assert batch.items()[0][7] == '{"a":"2","b":"3"}'


@pytest.mark.parametrize("end", [0, 1, HEAD_BYTES - 8, HEAD_BYTES, HEAD_BYTES + 57, 2**32, 2**63, 2**64 - 1, 2**64 - 8])
def test_an_end_that_cannot_be_is_not_believed(items: Path, end: int) -> None:
    put(items, segment(DEAD, *row(3), end=end))
    taken = take(items)
    assert taken.numbers() == list(range(3 if end > HEAD_BYTES + 57 else 1 if end > HEAD_BYTES else 0))
    assert taken.gone == [DEAD]


def test_a_segment_of_nothing_but_promises_costs_no_memory_and_little_time(items: Path) -> None:
    with (items / DEAD).open("wb") as file:
        file.write(segment(DEAD, end=2**64 - 1))
        file.truncate(1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = take(items)
    assert (taken.events, taken.bad_count, taken.gone) == ([], 1, [DEAD])
    assert taken.batch_count <= 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10


def test_candidates_without_end_are_given_up(items: Path) -> None:
    # Every eight bytes promise a record of 8 kB: each CRC is computed only so often.
    place = HEAD_BYTES
    words = []
    while place < 1 << 20:
        words.append(struct.pack("<IIII", 0, 8192, place, 0))
        place += 16
    put(items, segment(DEAD, *words))
    taken = take(items)
    assert (taken.events, taken.bad_count, taken.gone) == ([], 1, [DEAD])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (DEAD, segment("77-5-1", *row(2))),
        (DEAD, segment("4194304-6-1", *row(2))),
        (DEAD, segment("4194304-5-2", *row(2))),
        (DEAD, segment(DEAD, *row(2), magic=5)),
        (DEAD, segment(DEAD, *row(2), version=2)),
        (DEAD, b""),
        (DEAD, b"TMITEMS "),
        (DEAD, bytes(4096)),
    ],
)
def test_another_ones_segment_is_not_read(items: Path, name: str, data: bytes) -> None:
    path = put(items, data, name)
    os.utime(path)
    taken = take(items, ended=True)
    assert (taken.events, taken.gone) == ([], [name])


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "1-2",
        "1-2-3-4",
        "-1-2-3",
        "01-2-3",
        "1-02-3",
        "1-2-03",
        "1-2-",
        "1--3",
        "0-2-3",
        "2147483648-1-1",
        "1-18446744073709551616-1",
        "1-2-99999999999999999999999",
        "1-2-3 ",
        " 1-2-3",
        "1-2-3\n",
        ".1-2-3",
    ],
)
def test_what_has_another_name_is_left_alone(items: Path, name: str) -> None:
    put(items, segment(DEAD, *row(2)), name)
    taken = take(items, ended=True)
    assert (taken.events, taken.gone) == ([], [])
    assert os.listdir(items) == [name]


def test_links_pipes_directories_and_sockets_are_not_read(items: Path, tmp_path: Path) -> None:
    put(tmp_path, segment(DEAD, *row(2)), DEAD)
    (items / DEAD).symlink_to(tmp_path / DEAD)
    os.mkfifo(items / "4194304-5-2")
    (items / "4194304-5-3").mkdir()
    (items / own()).symlink_to("/proc/self/mem")
    put(items, segment("4194304-5-4", *row(2)), "4194304-5-4")
    reader = ItemLogReader(items)
    assert take(reader).numbers() == [0, 1]
    assert take(reader, ended=True).events == []
    assert (tmp_path / DEAD).exists(), "a link goes, never what it leads to"
    assert (items / "4194304-5-3").is_dir()


def test_a_file_that_shrinks_while_it_is_read_is_done_with(items: Path) -> None:
    path = put(items, segment(DEAD, *row(1000)))
    reader = ItemLogReader(items)
    batch = reader.read(0)
    assert batch is not None
    reader.commit()
    os.truncate(path, HEAD_BYTES + 56 * (batch.count + 3) + 20)
    taken = take(reader)
    assert len(taken.events) == 3
    assert taken.gone == [DEAD]


def test_a_file_that_changes_all_the_time_is_read_without_harm(items: Path) -> None:
    name = own()
    whole = segment(name, *row(3000), closed=0)
    path = put(items, whole, name)
    running = [True]

    def spoil() -> None:
        chance = random.Random(3)
        with path.open("rb+", buffering=0) as file:
            while running[0]:
                what = chance.randrange(4)
                if what == 0:
                    os.truncate(path, chance.randrange(len(whole)))
                elif what == 1:
                    os.pwrite(file.fileno(), whole, 0)
                elif what == 2:
                    os.pwrite(file.fileno(), chance.randbytes(2000), chance.randrange(len(whole)))
                else:
                    os.pwrite(file.fileno(), struct.pack("<Q", chance.randrange(1 << chance.randrange(1, 64))), 64)

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    try:
        for _ in range(300):
            reader = ItemLogReader(items)
            for _ in range(5):
                batch = reader.read(30_000)
                if batch is None:
                    break
                made.events_of(batch)
                batch.items()
                reader.commit()
    finally:
        running[0] = False
        spoiler.join()


def test_a_living_writer_whose_log_is_damaged_is_read_on(items: Path) -> None:
    log, reader = ItemLog(items), ItemLogReader(items)
    for n in range(10):
        log.item(n, 3)
    [name] = os.listdir(items)
    with (items / name).open("rb+", buffering=0) as file:
        os.pwrite(file.fileno(), b"\xff" * 56, HEAD_BYTES + 9 * 56)  # the last of them
    taken = take(reader)
    assert (taken.numbers(), taken.bad_count) == (list(range(9)), 1)
    log.item(10, 3)
    taken = take(reader)
    assert (taken.numbers(), taken.bad_count) == ([10], 0)


def test_of_more_segments_than_are_looked_at_the_rest_comes_later(items: Path) -> None:
    for number in range(5000):
        name = f"4194304-5-{number}"
        put(items, segment(name, *row(1, number)), name)
    taken = take(items)
    assert sorted(taken.numbers()) == list(range(5000))
    assert os.listdir(items) == []


def test_an_offset_that_was_tampered_with_does_no_harm(items: Path) -> None:
    put(items, segment(DEAD, *row(3)))
    offsets = {DEAD: 2**70, "x": 5, "1-2-3": -5}
    assert take(ItemLogReader(items, offsets)).events == []
    put(items, segment(DEAD, *row(3)))
    taken = take(ItemLogReader(items, {DEAD: HEAD_BYTES + 57}))
    assert taken.numbers() == [1, 2]


def test_without_descriptors_nothing_is_lost(items: Path) -> None:
    code = """
import os, resource, sys
from metercore.itemlog import ItemLogReader
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
reader = ItemLogReader(sys.argv[1])
taken = 0
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    reader.read()
except OSError as error:
    print(error.strerror)
os.close(held.pop())  # for the directory, and no file
assert reader.read() is None
assert reader.commit() == []
for descriptor in held:
    os.close(descriptor)
while (batch := reader.read(20_000)) is not None:
    taken += batch.count
    reader.commit()
print(taken)
"""
    for number in range(100):
        name = f"4194304-5-{number}"
        put(items, segment(name, *row(10)), name)
    done = subprocess.run([sys.executable, "-c", code, str(items)], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["Too many open files", "1000"]


def test_a_segment_of_a_living_writer_is_left_where_it_is(items: Path) -> None:
    put(items, segment(own(), *row(2), closed=0), own())
    reader = ItemLogReader(items)
    taken = take(reader)
    assert (taken.numbers(), taken.gone) == ([0, 1], [])
    assert take(reader, ended=True).gone == [own()]


def test_the_segment_of_a_writer_that_dies_is_removed(items: Path) -> None:
    code = "import sys; from metercore.itemlog import ItemLog; a = ItemLog(sys.argv[1]); a.item(1, 3); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, str(items)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        reader = ItemLogReader(items)
        taken = take(reader)
        assert (taken.numbers(), taken.gone) == ([1], [])
        writer.kill()
    wait_until(lambda: take(reader).gone or not os.listdir(items), "its segment is removed")
    assert os.listdir(items) == []


def test_a_writer_in_another_namespace_is_not_taken_for_dead(items: Path) -> None:
    put(items, segment(DEAD, *row(2), closed=0, namespaces=12345), DEAD)
    reader = ItemLogReader(items)
    taken = take(reader)
    assert (taken.numbers(), taken.gone) == ([0, 1], [])
    assert take(reader, ended=True).gone == [DEAD]


@given(data=st.binary(max_size=3000), at=st.integers(0, 1500), seed=st.integers(0, 2**32))
def test_no_bytes_harm_the_reader(tmp_path_factory, data: bytes, at: int, seed: int) -> None:
    directory = tmp_path_factory.mktemp("items")
    whole = bytearray(segment(DEAD, *row(10), closed=seed & 1))
    whole[at : at + len(data)] = data
    put(directory, bytes(whole))
    reader = ItemLogReader(directory)
    intact = set(range(10)) - {(n - HEAD_BYTES) // 56 for n in range(at, at + len(data))}
    taken = take(reader, ended=True)
    if at >= HEAD_BYTES:
        assert intact <= {*taken.numbers()}
    for batch in made.batches(ItemLogReader(directory), 0, ended=True):
        batch.items(), batch.messages(), batch.last_time
