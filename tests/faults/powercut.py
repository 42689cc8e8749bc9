"""A model of a power cut: of the recorded writes, those before a sync are on disk, and of the later ones any may be missing.

It is the model of files, not of a device: a write is there as a whole, or its pages of 4 KiB are there one by one.
"""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WRITE, SYNC, TRUNCATE, UNLINK = 1, 2, 3, 4
PAGE_BYTES = 4096
_HEAD = struct.Struct("<IIQQ")


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded call; `end_bytes` is where its record ends."""

    kind: int
    name: str
    offset: int
    data: bytes
    end_bytes: int


def read_record(path: Path) -> list[Operation]:
    """Read what record.c wrote."""
    raw = path.read_bytes()
    found, at = [], 0
    while at + _HEAD.size <= len(raw):
        kind, name_bytes, offset, data_bytes = _HEAD.unpack_from(raw, at)
        name_at = at + _HEAD.size
        data_at = name_at + name_bytes
        at = data_at + data_bytes
        found.append(Operation(kind, raw[name_at:data_at].decode(), offset, raw[data_at:at], at))
    return found


def _pieces(operation: Operation) -> Iterator[tuple[int, bytes]]:
    begin = 0
    while begin < len(operation.data):
        room = PAGE_BYTES - (operation.offset + begin) % PAGE_BYTES
        yield operation.offset + begin, operation.data[begin : begin + room]
        begin += room


def cut(operations: list[Operation], chance: random.Random, into: Path) -> None:
    """Write the files as they may be found after a power cut right after `operations`."""
    pending: dict[str, list[Operation]] = defaultdict(list)
    files: dict[str, bytearray] = defaultdict(bytearray)

    def apply(operation: Operation, *, torn: bool) -> None:
        image = files[operation.name]
        if operation.kind == TRUNCATE:
            del image[operation.offset :]
            image.extend(bytes(operation.offset - len(image)))
            return
        for offset, data in _pieces(operation):
            if torn and chance.random() < 0.5:
                continue
            image.extend(bytes(max(0, offset + len(data) - len(image))))
            image[offset : offset + len(data)] = data

    for operation in operations:
        if operation.kind == SYNC:
            for each in pending.pop(operation.name, ()):
                apply(each, torn=False)
        elif operation.kind == UNLINK:  # the rollback journal of a new database; its directory is synced at once
            pending.pop(operation.name, None)
            files.pop(operation.name, None)
        else:
            pending[operation.name].append(operation)
    keep = chance.choice((0.0, 0.5, 1.0))  # nothing of it, any of it, all of it but torn
    for waiting in pending.values():
        for each in waiting:
            if chance.random() < keep:
                apply(each, torn=keep < 1.0 or chance.random() < 0.5)
    into.mkdir()
    for name, image in files.items():
        (into / name).write_bytes(image)
