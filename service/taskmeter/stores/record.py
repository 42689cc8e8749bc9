"""One task as its directory keeps it, apart from the database: enough for a new store to have it again.

Written when an attempt is accepted, before anything is committed, and again by `core.keep_record` when somebody changes it.
Layout: magic, CRC-32 of all that follows, length of the JSON, JSON object of the columns of `tasks`, spec as the store has it.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import apsw

from taskmeter.model.task import Task, TaskSpec
from taskmeter.stores.migrate import migrate
from taskmeter.stores.rows import decode_task, insert_row

_MAGIC = b"TM SPEC\x01"
_HEAD = struct.Struct("<8sII")
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class TaskRecords:
    """Writes and reads records; the columns are those of query `put_task`, so that both always know the same fields."""

    def __init__(self, queries: dict[str, str], decode_spec: Callable[[bytes], TaskSpec]) -> None:
        columns = re.search(r"\(([^)]*)\)", queries["put_task"])
        assert columns is not None
        self._columns = [name.strip() for name in columns[1].split(",")]
        self._get_task = queries["get_task"]
        self._decode_spec = decode_spec
        self._scratch: apsw.Connection | None = None

    def pack(self, task: Task, spec: bytes) -> bytes:
        """Encode a task that is accepted, or accepted again as its next attempt."""
        values: dict[str, Any] = dict(zip(self._columns, insert_row(task, b""), strict=True))
        del values["spec"]
        values["spec_hash"] = base64.b64encode(task.spec_hash).decode()
        columns = _encode_json(values).encode()
        body = columns + spec
        return _HEAD.pack(_MAGIC, zlib.crc32(len(columns).to_bytes(4, "little") + body), len(columns)) + body

    def unpack(self, data: bytes) -> tuple[Task, bytes] | None:
        """Return the task and its encoded spec; None for what is torn, not ours, or of a layout that is not known."""
        if len(data) < _HEAD.size:
            return None
        magic, crc, length = _HEAD.unpack_from(data)
        body = data[_HEAD.size :]
        if magic != _MAGIC or crc != zlib.crc32(length.to_bytes(4, "little") + body) or length > len(body):
            return None
        values = json.loads(body[:length])
        spec = body[length:]
        values |= {"spec": spec, "spec_hash": base64.b64decode(values["spec_hash"])}
        names = [name for name in values if name in self._columns]  # columns of a later schema than the record's have defaults
        if self._scratch is None:
            self._scratch = apsw.Connection(":memory:")
            migrate(self._scratch)
        with self._scratch:
            self._scratch.execute("DELETE FROM tasks")
            self._scratch.execute(
                f"INSERT INTO tasks ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608  # names of columns
                [values[name] for name in names],
            )
            row = self._scratch.execute(self._get_task, (values["token"],)).fetchone()
        assert row is not None
        return decode_task(row, self._decode_spec), spec
