"""Item logs for tests: what a reader makes of them, and segments that no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from metercore.crc import crc32c
from metercore.itemlog import Batch, ItemLogReader
from taskmeter.v1.event_pb2 import Event
from taskmeter.v1.task_service_pb2 import StreamEventsResponse

HEAD_BYTES = 128
MAGIC = 0x20534D4554494D54
CHANGED, STEP, MESSAGE, DROPPED = 1, 2, 3, 4
TEXT, NUMBER, JSON = 1, 2, 3


@dataclass(slots=True)
class Taken:
    """Everything that a reader gave until there was no more."""

    events: list[Event] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    batch_count: int = 0
    bad_count: int = 0
    dropped_count: int = 0

    def names(self) -> list[str]:
        return [event.item_changed.item_id.text for event in self.events]

    def numbers(self) -> list[int]:
        return [event.item_changed.item_id.number for event in self.events]


def events_of(batch: Batch, first_seq: int = 1) -> list[Event]:
    response = StreamEventsResponse.FromString(batch.frames(first_seq, "token", 0, {}))
    assert len(response.events) == batch.count
    return list(response.events)


def batches(reader: ItemLogReader, most_bytes: int = 1 << 20, *, ended: bool = False) -> Iterator[Batch]:
    """Read on until there is nothing new; each batch is committed when the next is asked for."""
    while (batch := reader.read(most_bytes, ended)) is not None:
        yield batch


def take(where: Path | ItemLogReader, most_bytes: int = 1 << 20, *, ended: bool = False) -> Taken:
    reader = where if isinstance(where, ItemLogReader) else ItemLogReader(where)
    taken = Taken()
    for batch in batches(reader, most_bytes, ended=ended):
        taken.events += events_of(batch, len(taken.events) + 1)
        taken.bad_count += batch.bad_count
        taken.dropped_count += batch.dropped_count
        taken.batch_count += 1
        taken.gone += reader.commit()
    taken.gone += reader.commit()
    return taken


def record(
    place: int,
    kind: int = CHANGED,
    *,
    code: int = 3,
    id_kind: int = TEXT,
    timed: int = 0,
    time_ns: int = 1_700_000_000_000_000_000,
    value: int = 0,
    attempt: int = 0,
    texts: tuple[bytes, ...] = (b"name",),
    lengths: tuple[int, ...] = (),
) -> bytes:
    """A record as itemlog.h has it, with a right CRC; `texts` are id, stage, worker, step, error, metadata; `lengths` may lie."""
    texts = (*texts, *[b""] * (6 - len(texts)))
    body = b"".join(texts)
    body += b"\0" * (-len(body) % 8)
    sizes = lengths or tuple(map(len, texts))
    rest = struct.pack("<IIBBBBqqi6H", 48 + len(body), place, kind, code, id_kind, timed, time_ns, value, attempt, *sizes) + body
    return struct.pack("<I", crc32c(rest)) + rest


def segment(
    name: str, *records: bytes, end: int | None = None, closed: int = 1, magic: int = MAGIC, version: int = 1, namespaces: int = 0
) -> bytes:
    """A segment with these records, one after the other."""
    pid, start_ticks, number = map(int, name.split("-"))
    body = b"".join(records)
    end = HEAD_BYTES + len(body) if end is None else end
    head = struct.pack("<QIIIIQQQQQQI52x", magic, version, 128, pid, 0, start_ticks, number, namespaces, 0, 0, end, closed)
    return head + body


def row(count: int, first: int = 0, place: int = HEAD_BYTES) -> list[bytes]:
    """Records named by numbers, as they follow each other in a segment."""
    found = []
    for number in range(first, first + count):
        found.append(record(place, id_kind=NUMBER, texts=(struct.pack("<q", number),)))
        place += len(found[-1])
    return found
