"""The item log as plain Python reads it, and a run that compares: one segment whose every byte is somebody else's."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

from metercore.crc import crc32c
from metercore.itemlog import ItemLogReader
from taskmeter.v1.event_pb2 import Event
from taskmeter.v1.task_service_pb2 import StreamEventsResponse

PID, START, NUMBER = NAME = (4194304, 5, 1)
HEAD = struct.Struct("<QIIIIQQQQQQI52x")
RECORD = struct.Struct("<IIIBBBBqqi6H")
MAGIC = 0x20534D4554494D54
MOST_SEGMENT, MOST_RECORD, MOST_MISSES = 8 << 20, 8192, 64
MOST_NAME, MOST_ERROR, MOST_TEXT, MOST_METADATA, MOST_ID = 200, 2000, 4000, 4000, 1024
CHANGED, STEP, MESSAGE, DROPPED = 1, 2, 3, 4


@dataclass(slots=True)
class Found:
    """What there is in a segment."""

    events: list[Event] = field(default_factory=list)
    bad_count: int = 0
    dropped_count: int = 0


def text(data: bytes) -> str:
    """Each byte that is not part of a character is a question mark."""
    found = []
    while data:
        try:
            found.append(data.decode())
            break
        except UnicodeDecodeError as error:
            found.append(data[: error.start].decode() + "?")
            data = data[error.start + 1 :]
    return "".join(found)


def entries(data: bytes) -> dict[str, str] | None:
    found = {}
    while data:
        if len(data) < 4:
            return None
        key, value = struct.unpack_from("<HH", data)
        if len(data) < 4 + key + value:
            return None
        found[text(data[4 : 4 + key])] = text(data[4 + key : 4 + key + value])
        data = data[4 + key + value :]
    return found


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return parts


def name_item(event: Event, id_kind: int, name: bytes) -> bool:
    target = event.item_changed.item_id if event.HasField("item_changed") else event.step.item_id
    if id_kind == 1 and len(name) <= MOST_ID:
        target.text = text(name)
    elif id_kind == 2 and len(name) == 8:
        target.number = struct.unpack("<q", name)[0]
    elif id_kind == 3 and 0 < len(name) <= MOST_ID:
        target.json = text(name)
    else:
        return False
    return True


def event_of(data: bytes) -> Event | int | None:
    """An event; a number of dropped ones; None for what cannot be."""
    _, size, _, kind, code, id_kind, timed, time_ns, value, attempt, *sizes = RECORD.unpack_from(data)
    if RECORD.size + (sum(sizes) + 7) // 8 * 8 != size:
        return None
    if kind == DROPPED:
        return int(min(max(value, 0), 2**62 - 1))
    name, stage, worker, step, error, metadata = split(data[RECORD.size :], sizes)
    event = Event(time=max(time_ns, 0) / 1e9)
    if kind == MESSAGE:
        if not 1 <= code <= 4 or name + stage + worker + step + metadata or len(error) > MOST_TEXT:
            return None
        event.message.level = code
        event.message.text = text(error)
        return event
    if max(map(len, (stage, worker, step))) > MOST_NAME or len(error) > MOST_ERROR or len(metadata) > MOST_METADATA:
        return None
    described = entries(metadata)
    if kind == CHANGED and 1 <= code <= 6 and not step and described is not None:
        changed = event.item_changed
        changed.status = code
        changed.size = max(value, 0)
        changed.metadata.update(described)
        common = changed
    elif kind == STEP and 1 <= code <= 4 and not metadata:
        happened = event.step
        happened.type = code
        happened.step = text(step)
        seconds = struct.unpack("<d", struct.pack("<q", value))[0]
        if timed == 1 and math.isfinite(seconds) and seconds >= 0:
            happened.duration_seconds = seconds
        common = happened  # type: ignore[assignment]
    else:
        return None
    common.stage, common.worker, common.error, common.attempt = text(stage), text(worker), text(error), max(attempt, 0)
    return event if name_item(event, id_kind, name) else None


def looks_sound(data: bytes | bytearray, at: int, limit: int) -> int:
    """The size of what could be a record here, by its head; 0 if it is none."""
    _, size, place = struct.unpack_from("<III", data, at)
    return size if place == at and RECORD.size <= size <= MOST_RECORD and size % 8 == 0 and at + size <= limit else 0


def scan(data: bytes) -> Found:
    """Read a segment whose name is NAME."""
    found = Found()
    if len(data) < HEAD.size:
        return found
    magic, version, head_bytes, pid, _, start, number, _, _, _, end, _ = HEAD.unpack_from(data)
    if (magic, version, head_bytes, pid, start, number) != (MAGIC, 1, HEAD.size, PID, START, NUMBER):
        return found
    at, limit = HEAD.size, min(end, len(data), MOST_SEGMENT) // 8 * 8
    lost, misses = False, 0
    while at < limit:
        size = looks_sound(data, at, limit) if limit - at >= RECORD.size and misses < MOST_MISSES else 0
        if size and crc32c(data[at + 4 : at + size]) != struct.unpack_from("<I", data, at)[0]:
            misses += 1
            size = 0
        if not size:
            found.bad_count += not lost
            lost = True
            at += 8
            continue
        event = event_of(data[at : at + size])
        if event is None:
            found.bad_count += 1
        elif isinstance(event, Event):
            found.events.append(event)
        else:
            found.dropped_count += event
        lost = False
        at += size
    return found


def seal(data: bytes) -> bytes:
    """Put the CRC of each record right."""
    changed = bytearray(data)
    at = HEAD.size
    while len(changed) - at >= RECORD.size:
        size = looks_sound(changed, at, len(changed))
        if size:
            changed[at : at + 4] = crc32c(changed[at + 4 : at + size]).to_bytes(4, "little")
        at += size or 8
    return bytes(changed)


def compare(directory: Path, data: bytes) -> None:
    """Read it in small batches, of which each is read twice, and hold it against the oracle."""
    directory.mkdir(exist_ok=True)
    path = directory / "-".join(map(str, NAME))
    path.write_bytes(data)
    expected = scan(data)
    reader = ItemLogReader(directory)
    events: list[Event] = []
    bad_count = dropped_count = 0
    while reader.read(0, ended=True) and (batch := reader.read(0, ended=True)):
        frames = batch.frames(len(events) + 1, "", 0, {})
        read = StreamEventsResponse.FromString(frames).events
        assert len(read) == batch.count == len(batch.kinds)
        events += read
        bad_count += batch.bad_count
        dropped_count += batch.dropped_count
        indexes = [index for item in batch.items() for index in item[9]]
        assert len(indexes) + len(batch.messages()) == batch.count
        for item in batch.items():
            item[0].decode()
            assert not item[7] or json.loads(item[7])
        reader.commit()
    reader.commit()
    assert not path.exists(), "it is done with"
    for seq, event in enumerate(expected.events, 1):
        event.seq = seq
    assert events == expected.events
    assert (bad_count, dropped_count) == (expected.bad_count, expected.dropped_count)
