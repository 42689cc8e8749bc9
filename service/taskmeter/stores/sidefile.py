"""A file of definitions beside the database and the keys, for the day the database has to be built anew.

One JSON object: version, the checksum, and the entries under a name of their own, one a line.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from taskmeter.errors import LimitError, UnavailableError
from taskmeter.stores.keyfile import replace_durably

VERSION = 1

T = TypeVar("T")

_encode = json.JSONEncoder(sort_keys=True).encode


class JsonFile(Generic[T]):
    """Reads and replaces such a file; implements `core.side_file.SideFile`."""

    def __init__(
        self, path: Path, kind: str, *, to_entry: Callable[[T], dict[str, Any]], from_entry: Callable[[dict[str, Any]], T]
    ) -> None:
        self._path = path
        self._kind = kind
        self._to_entry = to_entry
        self._from_entry = from_entry
        self._lines: dict[int, tuple[T, str]] = {}
        """Of the last save, by the object's id: most of them are the same the next time."""

    def load(self) -> list[T]:
        try:
            document = json.loads(self._path.read_bytes())
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r} is not known to this program")
            if document["crc32"] != _crc([_encode(entry) for entry in document[self._kind]]):
                raise ValueError("its checksum is wrong")
            return [self._from_entry(entry) for entry in document[self._kind]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
            raise UnavailableError(f"{self._path} cannot be used: {why}") from error

    def save(self, kept: Sequence[T]) -> None:
        before = self._lines
        self._lines = {id(each): before.get(id(each)) or (each, _encode(self._to_entry(each))) for each in kept}
        lines = [line for _, line in self._lines.values()]
        text = f'{{"version": {VERSION}, "crc32": {_crc(lines)}, "{self._kind}": [\n' + ",\n".join(lines) + "\n]}\n"
        try:
            replace_durably(self._path, text.encode())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise LimitError("the disk of the daemon is full", reason="DISK_FULL", retry_after_seconds=5.0) from error
            problem = f"{self._kind} cannot be kept in {self._path}: {os.strerror(error.errno or 0)}"
            raise UnavailableError(problem, reason="STORE_UNAVAILABLE") from error


def _crc(lines: Sequence[str]) -> int:
    return zlib.crc32("\n".join(lines).encode())
