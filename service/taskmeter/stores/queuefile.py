"""queues.json: the definitions of queues, beside the database and the keys, for the day the database has to be built anew."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from taskmeter.errors import LimitError, UnavailableError
from taskmeter.model.queue import Queue
from taskmeter.stores.keyfile import replace_durably

QUEUES_NAME = "queues.json"
VERSION = 1

_encode = json.JSONEncoder(indent=1, sort_keys=True).encode


class QueuesJson:
    """Reads and replaces the file; implements `core.keep_queues.QueueFile`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / QUEUES_NAME

    def load(self) -> list[Queue]:
        try:
            document = json.loads(self._path.read_bytes())
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r} is not known to this program")
            if document["crc32"] != _crc(document["queues"]):
                raise ValueError("its checksum is wrong")
            return [Queue(**values) for values in document["queues"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
            raise UnavailableError(f"{self._path} cannot be used: {why}") from error

    def save(self, queues: Sequence[Queue]) -> None:
        entries = [asdict(queue) for queue in queues]
        document = {"version": VERSION, "crc32": _crc(entries), "queues": entries}
        try:
            replace_durably(self._path, (_encode(document) + "\n").encode())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise LimitError("the disk of the daemon is full", reason="DISK_FULL", retry_after_seconds=5.0) from error
            problem = f"queues cannot be kept in {self._path}: {os.strerror(error.errno or 0)}"
            raise UnavailableError(problem, reason="STORE_UNAVAILABLE") from error


def _crc(entries: object) -> int:
    return zlib.crc32(_encode(entries).encode())
