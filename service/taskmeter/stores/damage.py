"""A database that cannot be trusted any more: how it is recognised, and how it is put aside. It is never deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw
from msgspec import Struct

from taskmeter.errors import UnavailableError

DAMAGE = (apsw.CorruptError, apsw.NotADBError)
MISREAD = (apsw.CorruptError, apsw.IOError)
"""What a disk that fails for a moment looks like to who reads it."""
_PAGE_SIZE_AT, _PAGE_COUNT_AT = 16, 28
"""In the header of the file: www.sqlite.org/fileformat2.html#the_database_header"""
_HEADER_BYTES = 100


class Damage(Struct, frozen=True):
    """What was found to be wrong while the database was used."""

    text: str
    may_be_misread: bool
    """SQLite says so, to which a disk that fails to read once is a damaged file; else what was read makes no sense to us."""


class DamagedStoreError(UnavailableError):
    """The database file is not what was written: rename it, and build a new one from the task directories."""

    default_reason = "STORE_UNAVAILABLE"
    default_hint = "tasks are found again in their directories when the daemon starts anew"


def looks_cut(path: Path) -> bool:
    """Tell whether the file is shorter than its own header says. Only to be believed when there is no write-ahead log."""
    try:
        size = path.stat().st_size
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            return False
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    if len(header) < _HEADER_BYTES:
        return False
    page = int.from_bytes(header[_PAGE_SIZE_AT : _PAGE_SIZE_AT + 2], "big")
    pages = int.from_bytes(header[_PAGE_COUNT_AT : _PAGE_COUNT_AT + 4], "big")
    return size < pages * (65536 if page == 1 else page)


def is_sound(path: Path) -> bool:
    """Read the whole database and tell whether its structure holds. Nobody else may be writing; takes a second or so per GB."""
    try:
        connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").get == "ok")
        finally:
            connection.close()
    except apsw.Error:
        return False


def put_aside(path: Path) -> Path:
    """Rename the database and what belongs to it; return its new path, `NAME.damaged-YYYYMMDDTHHMMSS` in UTC."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):  # the database last: without it the others mean nothing to the next start
        try:
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        except FileNotFoundError:
            continue
    return aside
