"""The item log: the work says what becomes of its items, the daemon reads it, and nobody waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.itemlog import Batch, ItemLog, ItemLogReader
from taskmeter.rpc.convert.frame import varint
from taskmeter.v1.event_pb2 import Event, EventKind
from taskmeter.v1.task_service_pb2 import StreamEventsResponse
from tests.native.items import events_of, take

QUEUED, DONE, FAILED = 1, 3, 4
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return tmp_path / "items"


def read(where: Path) -> Batch:
    batch = ItemLogReader(where).read()
    assert batch is not None
    return batch


def test_everything_said_is_read_in_order(items: Path) -> None:
    log = ItemLog(items)
    assert log.shared
    log.item("a", QUEUED, stage="load", size=7)
    log.step("a", "parse", 4, "load", 2, "no luck", "w1", 1.5)
    log.message(2, "careful")
    log.item(-5, FAILED, "load", 1, "broken", "w2", 9, {"k": "v"})
    log.item(b"[1,2]", DONE)
    batch = read(items)
    assert (batch.count, batch.kinds, batch.bad_count, batch.dropped_count) == (5, bytes([2, 3, 4, 2, 2]), 0, 0)
    first, step, message, number, other = events_of(batch, 10)
    assert (first.seq, first.token, first.attempt) == (10, "token", 0)
    assert first.item_changed.item_id.text == "a"
    assert (first.item_changed.stage, first.item_changed.status, first.item_changed.size) == ("load", QUEUED, 7)
    assert (step.step.item_id.text, step.step.stage, step.step.step, step.step.type) == ("a", "load", "parse", 4)
    assert (step.step.attempt, step.step.error, step.step.worker, step.step.duration_seconds) == (2, "no luck", "w1", 1.5)
    assert (message.message.level, message.message.text, message.seq) == (2, "careful", 12)
    changed = number.item_changed
    assert (changed.item_id.number, changed.attempt, changed.error, changed.worker) == (-5, 1, "broken", "w2")
    assert dict(changed.metadata) == {"k": "v"}
    assert other.item_changed.item_id.json == "[1,2]"
    assert first.time <= step.time <= message.time <= batch.last_time == other.time
    assert log.dropped_count == 0


def test_a_step_that_was_not_timed_has_no_duration(items: Path) -> None:
    log = ItemLog(items)
    for seconds in (None, 0.0, float("nan"), -1.0):
        log.step("a", "b", 1, duration_seconds=seconds)
    found = [event.step for event in events_of(read(items))]
    assert [step.HasField("duration_seconds") for step in found] == [False, True, False, False]


def said(event: Event, seq: int, time: float) -> bytes:
    """The event as the generated classes write it, framed as `taskmeter.rpc.convert.frame` does."""
    event.seq, event.time = seq, time
    response = StreamEventsResponse(events=[event])
    return response.SerializeToString()


@given(
    name=st.one_of(
        TEXTS, st.integers(-(2**63), 2**63 - 1), st.lists(TEXTS, max_size=3).map(lambda texts: json.dumps(texts).encode())
    ),
    texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS),
    code=st.integers(1, 4),
    numbers=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
    duration=st.none() | st.floats(0, 1e300),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=1),  # the generated classes write more in no order
    tags=st.dictionaries(TEXTS, TEXTS, max_size=1),
    envelope=st.tuples(st.integers(1, 2**63 - 10), TEXTS, st.integers(0, 2**31 - 1)),
)
def test_frames_are_byte_for_byte_those_of_the_generated_classes(
    tmp_path_factory, name, texts, code, numbers, duration, metadata, tags, envelope
) -> None:
    directory = tmp_path_factory.mktemp("items")
    stage, worker, error, step = texts
    attempt, size = numbers
    seq, token, attempt_of_task = envelope
    log = ItemLog(directory)
    log.item(name, code, stage, attempt, error, worker, size, metadata)
    log.step(name, step, code, stage, attempt, error, worker, duration)
    log.message(code, error)
    batch = read(directory)
    events = [Event(token=token, attempt=attempt_of_task, tags=tags) for _ in range(3)]
    changed, happened = events[0].item_changed, events[1].step
    for each in (changed, happened):
        if isinstance(name, str):
            each.item_id.text = name
        elif isinstance(name, int):
            each.item_id.number = name
        else:
            each.item_id.json = name.decode()
        each.stage, each.attempt, each.error, each.worker = stage, attempt, error, worker
    changed.status = code
    changed.size = size
    changed.metadata.update(metadata)
    happened.step = step
    happened.type = code
    if duration is not None:
        happened.duration_seconds = duration
    events[2].message.level = code
    events[2].message.text = error
    frames = batch.frames(seq, token, attempt_of_task, tags)
    times = [event.time for event in StreamEventsResponse.FromString(frames).events]
    assert frames == b"".join(said(event, seq + n, times[n]) for n, event in enumerate(events))
    assert batch.kinds == bytes([EventKind.EVENT_KIND_ITEM, EventKind.EVENT_KIND_STEP, EventKind.EVENT_KIND_MESSAGE])


@given(maps=st.tuples(*[st.dictionaries(TEXTS, TEXTS, max_size=6)] * 2))
def test_entries_of_maps_are_in_the_order_of_their_keys(tmp_path_factory, maps) -> None:
    metadata, tags = maps
    directory = tmp_path_factory.mktemp("items")
    ItemLog(directory).item("a", DONE, metadata=metadata)
    frames = read(directory).frames(1, "token", 0, tags)
    [event] = StreamEventsResponse.FromString(frames).events
    assert dict(event.item_changed.metadata) == metadata
    assert dict(event.tags) == tags
    at = 0
    for found in (tags, metadata):
        for key in sorted(found, key=str.encode):
            at = frames.index(b"\x0a" + varint(len(key.encode())) + key.encode() + b"\x12", at) + 1


def test_items_are_told_once_with_what_is_known_last(items: Path) -> None:
    log = ItemLog(items)
    log.item("a", QUEUED, size=5, metadata={"b": "1", "a": 'ü"'})
    log.item(7, DONE, "s", 3, "", "w")
    log.message(1, "between")
    log.step("a", "s", 1)
    log.item("a", FAILED, "t", 1, "why", "v")
    log.step(b"{}", "only", 2)
    batch = read(items)
    first, second, third = batch.items()
    time = events_of(batch)[4].time
    assert first == (b"sa", "t", FAILED, 1, "why", "v", 5, '{"a":"ü\\"","b":"1"}', time, (0, 3, 4))
    assert second[:8] == (b"i7", "s", DONE, 3, "", "w", 0, "")
    assert (third[0], third[2], third[9]) == (b"j{}", 0, (5,))
    assert [(level, text) for level, text, _ in batch.messages()] == [(1, "between")]


@pytest.mark.parametrize("name", ["x" * 1025, "ü" * 513, b"1" * 1025, b"", 2**63, -(2**63) - 1])
def test_a_name_that_is_too_long_is_refused(items: Path, name) -> None:
    for log in (ItemLog(items), ItemLog()):
        with pytest.raises(ValueError, match="item"):
            log.item(name, DONE)
        with pytest.raises(ValueError, match="item"):
            log.step(name, "s", 1)
        assert log.dropped_count == 0


def test_what_is_no_name_no_status_or_no_text_is_refused(items: Path) -> None:
    log = ItemLog(items)
    for name in (1.5, None, ("a",)):
        with pytest.raises(TypeError):
            log.item(name, DONE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text"):
        log.item("a", DONE, stage=5)  # type: ignore[arg-type]
    for status in (0, 7, -1):
        with pytest.raises(ValueError, match="status"):
            log.item("a", status)
    with pytest.raises(ValueError, match="type"):
        log.step("a", "s", 5)
    with pytest.raises(ValueError, match="level"):
        log.message(0, "x")
    assert ItemLogReader(items).read() is None


def test_long_texts_are_cut_at_a_character(items: Path) -> None:
    log = ItemLog(items)
    long = "a" + "😀" * 3000
    log.item("x" * 1024, DONE, long, 0, long, long, 0, {"k": "v", "long": long, "more": "left out"})
    log.step("a", long, 1)
    log.message(3, long)
    changed, step, message = events_of(read(items))
    for text, most in (
        (changed.item_changed.stage, 200),
        (changed.item_changed.worker, 200),
        (changed.item_changed.error, 2000),
        (step.step.step, 200),
        (message.message.text, 4000),
        (changed.item_changed.metadata["long"], 4000),
    ):
        assert long.startswith(text)
        assert most - 20 < len(text.encode()) <= most
    assert changed.item_changed.metadata["k"] == "v"
    assert "more" not in changed.item_changed.metadata


def test_what_is_no_text_at_all_is_still_said(items: Path) -> None:
    log = ItemLog(items)
    log.item("bad \udcff", DONE, error="\ud800", metadata={"\udcff": "\udcff"})
    log.message(1, ValueError("an object"))  # type: ignore[arg-type]
    changed, message = events_of(read(items))
    assert (changed.item_changed.item_id.text, changed.item_changed.error) == ("bad ?", "?")
    assert dict(changed.item_changed.metadata) == {"?": "?"}
    assert message.message.text == "an object"


def test_without_a_directory_the_same_calls_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for where in (None, tmp_path / "file", tmp_path / "none" / "items", tmp_path / "link", tmp_path / "a\0b", "/proc"):
        log = ItemLog(where)
        log.item("a", DONE)
        log.message(1, "b")
        assert (log.shared, log.dropped_count) == (False, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_read_without_a_commit_is_read_again(items: Path) -> None:
    log, reader = ItemLog(items), ItemLogReader(items)
    log.item("a", DONE)
    one = reader.read()
    log.item("b", DONE)
    two = reader.read()
    assert one is not None and two is not None
    assert (one.count, two.count) == (1, 2)
    reader.commit()
    assert reader.read() is None
    log.item("c", DONE)
    assert take(reader).names() == ["c"]


def test_another_reader_goes_on_from_the_offsets(items: Path) -> None:
    log = ItemLog(items)
    for n in range(100):
        log.item(n, DONE)
    offsets: dict[str, int] = {}
    numbers = []
    while batch := ItemLogReader(items, offsets).read(0):  # a new reader each time, nothing is ever committed
        offsets |= batch.offsets
        numbers += [event.item_changed.item_id.number for event in events_of(batch)]
        if len(numbers) == 100:
            log.item(100, DONE)
    assert numbers == list(range(101))


def test_a_log_that_was_left_is_removed_once_it_is_read(items: Path) -> None:
    log = ItemLog(items)
    log.item("a", DONE)
    [name] = os.listdir(items)
    assert (items / name).stat().st_size == 1 << 20
    log.close()
    assert (items / name).stat().st_size < 300
    reader = ItemLogReader(items)
    batch = reader.read()
    assert batch is not None and batch.count == 1
    assert os.listdir(items) == [name]
    assert reader.commit() == [name]
    assert os.listdir(items) == []
    log.item("b", DONE)
    assert take(reader).names() == ["b"]
    assert os.listdir(items) != [name]


def test_what_was_durable_before_the_daemon_died_is_removed_after(items: Path) -> None:
    log = ItemLog(items)
    log.item("a", DONE)
    log.close()
    batch = read(items)  # and stored, but the daemon died before it could commit
    reader = ItemLogReader(items, batch.offsets)
    assert reader.read() is None
    assert reader.commit() == list(batch.offsets)
    assert os.listdir(items) == []
    again = ItemLogReader(items, batch.offsets)  # or it died right after
    assert again.read() is None
    assert again.commit() == list(batch.offsets)


def test_segments_grow_and_are_removed_one_by_one(items: Path) -> None:
    log, reader = ItemLog(items), ItemLogReader(items)
    sizes, numbers, gone = set(), [], []
    for n in range(150_000):
        log.item(n, DONE, stage="stage", worker="worker", error="e" * 50)
        if n % 5000 == 4999:
            sizes |= {path.stat().st_size for path in items.iterdir()}
            assert len(list(items.iterdir())) <= 3
            taken = take(reader)
            numbers += taken.numbers()
            gone += taken.gone
    assert numbers == list(range(150_000))
    assert sizes == {1 << 20, 2 << 20, 4 << 20, 8 << 20}
    assert len(gone) == len(set(gone)) >= 4
    assert len(list(items.iterdir())) == 1


def test_unread_segments_are_bounded_and_what_is_dropped_is_told(items: Path) -> None:
    log = ItemLog(items)
    error = "e" * 2000
    total = 0
    while log.dropped_count < 10:
        log.item(total, DONE, error=error)
        total += 1
    assert 56 << 20 <= sum(path.stat().st_size for path in items.iterdir()) <= 64 << 20
    kept = total - 10
    reader = ItemLogReader(items)
    taken = take(reader)
    assert taken.numbers() == list(range(kept))
    assert taken.dropped_count == 0
    deadline = threading.Event()
    while log.dropped_count >= total - kept:  # it looks again after a tenth of a second
        log.item(total, DONE, error=error)
        total += 1
        deadline.wait(0.01)
    taken = take(reader)
    assert taken.dropped_count == log.dropped_count == total - kept - 1
    assert taken.numbers() == [total - 1]


def test_a_child_writes_a_log_of_its_own(items: Path) -> None:
    log = ItemLog(items)
    other = ItemLog(items)
    log.item("parent", DONE)
    other.item("other", DONE)
    pid = os.fork()
    if pid == 0:
        log.item("child", DONE)
        other.item("other child", DONE)
        grandchild = os.fork()
        if grandchild == 0:
            log.item("grandchild", DONE)
            os._exit(0)
        os.waitpid(grandchild, 0)
        log.close()
        os._exit(0)
    os.waitpid(pid, 0)
    log.item("parent again", DONE)
    names = sorted(os.listdir(items))
    assert len({name.split("-")[0] for name in names}) == 3
    assert len(names) == 5
    taken = take(items)
    assert sorted(taken.names()) == ["child", "grandchild", "other", "other child", "parent", "parent again"]
    assert len(taken.gone) == 3, "those of dead writers"
    assert taken.bad_count == 0


def test_a_process_that_executes_another_program_begins_new_segments(items: Path) -> None:
    code = (
        "import os, sys; from metercore.itemlog import ItemLog; n = int(sys.argv[2]); log = ItemLog(sys.argv[1]); log.item(n, 3);"
        "n and os.execv(sys.executable, [sys.executable, '-c', sys.argv[3], sys.argv[1], str(n - 1), sys.argv[3]])"
    )
    subprocess.run([sys.executable, "-c", code, str(items), "3", code], check=True)
    assert len({name.rpartition("-")[0] for name in os.listdir(items)}) == 1
    taken = take(items)
    assert taken.numbers() == [3, 2, 1, 0]
    assert len(taken.gone) == 4


def test_threads_lose_nothing(items: Path) -> None:
    log = ItemLog(items)
    reader = ItemLogReader(items)
    running = [True]
    numbers: list[int] = []

    def write(first: int) -> None:
        for n in range(first, first + 20_000):
            log.item(n, DONE, stage="s", metadata={"k": "v"})

    def follow() -> None:
        while running[0]:
            numbers.extend(take(reader).numbers())

    follower = threading.Thread(target=follow)
    follower.start()
    threads = [threading.Thread(target=write, args=(k * 20_000,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running[0] = False
    follower.join()
    numbers += take(reader).numbers()
    assert sorted(numbers) == list(range(60_000))
    for k in range(3):
        mine = [n for n in numbers if n // 20_000 == k]
        assert mine == sorted(mine)


def test_an_event_makes_no_system_call(items: Path) -> None:
    # A filter (seccomp(2)) ends the process at any but write and exit_group. Strict mode would take the clock away, too.
    code = """
import ctypes, os, platform, struct, sys
from metercore.itemlog import ItemLog
log = ItemLog(sys.argv[1])
prctl, write = ctypes.CDLL(None).prctl, os.write
def say():
    for _ in range(1000):
        log.item("name", 3, "stage", 1, "error", "worker", 5, {"key": "value"})
        log.step(5, "step", 2, duration_seconds=0.5)
        log.message(1, "text")
say()
allowed = {"x86_64": (1, 231), "aarch64": (64, 94)}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 2, 0, allowed[0]), (0x15, 1, 0, allowed[1]), (6, 0, 0, 0x80000000), (6, 0, 0, 0x7FFF0000)]
steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 5, ctypes.addressof(steps)))
assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
say()
write(1, b"said")
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code, str(items)], capture_output=True, check=False)
    assert done.stdout == b"said"
    assert len(take(items).events) == 6000


def test_writers_take_turns(items: Path) -> None:
    code = (
        "import sys; from metercore.itemlog import ItemLog; log = ItemLog(sys.argv[1]);"
        "[log.item(n, 3, stage=sys.argv[2]) for n in range(int(sys.argv[3]))]; log.close()"
    )
    for stage, count in (("loud", 100_000), ("quiet", 10), ("soft", 10)):
        subprocess.run([sys.executable, "-c", code, str(items), stage, str(count)], check=True)
    batch = ItemLogReader(items).read(200_000)
    assert batch is not None
    stages = [event.item_changed.stage for event in events_of(batch)]
    assert {stage: stages.count(stage) for stage in ("quiet", "soft")} == {"quiet": 10, "soft": 10}
    assert stages.count("loud") > 500
    assert len(take(items, 50_000).events) == 100_020


def test_a_reader_that_is_closed_says_so(items: Path) -> None:
    ItemLog(items).item("a", DONE)
    reader = ItemLogReader(items)
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read()
    with pytest.raises(ValueError, match="closed"):
        reader.commit()


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("none", "file", "link"):
        reader = ItemLogReader(tmp_path / name)
        assert reader.read() is None
        assert reader.commit() == []
    with pytest.raises(ValueError, match="NUL"):
        ItemLogReader("a\0b")
