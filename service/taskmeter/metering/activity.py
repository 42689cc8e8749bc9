"""Signs of work: when an attempt last showed one, kept in its directory so that a restart neither forgives nor forgets.

A sign is CPU use of at least a thousandth of a core between two looks, bytes read or written, a longer output file, or any change
of what the work reports. Times are CLOCK_BOOTTIME: no attempt outlives its boot, and no clock that is set ends one.
"""

from __future__ import annotations

import os
import struct
import time
import zlib

from msgspec import Struct
from msgspec.structs import replace

MIN_CPU_SHARE = 0.001
_RECORD = struct.Struct("<8sQQQQQI")
_MAGIC = b"TM IDLE1"
_NS = 1_000_000_000


class Signs(Struct, frozen=True, gc=False):
    """What is compared between two looks; each only ever grows, but for `report`, which any change changes."""

    cpu_ns: int
    io_bytes: int
    output_bytes: int
    report: int
    """Checksum of the report block, and the newest event that came of its item log or by a call."""


class _Attempt(Struct):
    signs: Signs
    looked_ns: int
    worked_ns: int


class Activity:
    """Remembers the last sign of each attempt that is asked about."""

    def __init__(self) -> None:
        self._attempts: dict[str, _Attempt] = {}

    def idle_seconds(self, directory: str, signs: Signs, seen_age_seconds: float) -> float:
        """Compare `signs`, read `seen_age_seconds` ago, with the last ones; return for how long there was none up to then.

        The first look after a restart starts from the record; what changed while nobody looked counts as a sign of now.
        """
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        known = self._attempts.get(directory)
        if known is None:
            known = _read(directory) or _Attempt(signs, now, now)
            self._attempts[directory] = known
            if known.worked_ns == now:
                _write(directory, known)
        if _is_work(known, signs, now):
            known.worked_ns = now
        before, known.looked_ns = known.signs, now
        # Right after a restart the meter may know less than the record: that it finds its way back is no work.
        cpu_ns, io_bytes = max(signs.cpu_ns, before.cpu_ns), max(signs.io_bytes, before.io_bytes)
        known.signs = replace(signs, cpu_ns=cpu_ns, io_bytes=io_bytes)
        changed = known.signs != before
        if changed:
            _write(directory, known)
        return max(0.0, (now - known.worked_ns) / _NS - seen_age_seconds)

    def forget(self, directory: str) -> None:
        """The attempt has ended."""
        self._attempts.pop(directory, None)


def _is_work(known: _Attempt, signs: Signs, now: int) -> bool:
    before = known.signs
    if signs.io_bytes > before.io_bytes or (signs.output_bytes, signs.report) != (before.output_bytes, before.report):
        return True
    return signs.cpu_ns - before.cpu_ns > MIN_CPU_SHARE * (now - known.looked_ns)


def output_bytes(directory: str) -> int:
    """Return how much the attempt has written to its output files; 0 where there is none."""
    total = 0
    for name in ("stdout", "stderr"):
        try:
            total += os.lstat(f"{directory}/task/{name}").st_size
        except OSError:
            continue
    return total


def report_checksum(directory: str, size: int, reported: int = 0) -> int:
    """Return a checksum of the report block, of `reported`, and of when others reported last; 0 where there is nothing."""
    begin = zlib.crc32(reported.to_bytes(8, "little")) if reported else 0
    return _block_checksum(directory, size, begin) ^ _reported_checksum(directory)


def _reported_checksum(directory: str) -> int:
    """What others report is written each time, so that any report is a sign of work, also one that changes nothing."""
    try:
        changed_ns = os.lstat(f"{directory}/reported").st_mtime_ns
    except OSError:
        return 0
    return zlib.crc32(changed_ns.to_bytes(8, "little", signed=True))


def _block_checksum(directory: str, size: int, begin: int) -> int:
    try:
        # The file is the task's: it may be a link, or a pipe that nobody writes to.
        descriptor = os.open(f"{directory}/task/report", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return begin
    try:
        return zlib.crc32(os.read(descriptor, size), begin)
    except OSError:
        return begin
    finally:
        os.close(descriptor)


def _write(directory: str, known: _Attempt) -> None:
    """Keep it, as well as may be: a disk that is full costs no more than a longer life after a restart."""
    signs = known.signs
    values = (known.worked_ns, known.looked_ns, signs.cpu_ns, signs.io_bytes, signs.output_bytes, signs.report)
    body = _RECORD.pack(_MAGIC, *values)
    try:
        descriptor = os.open(f"{directory}/idle", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return
    try:
        os.pwrite(descriptor, body + zlib.crc32(body).to_bytes(4, "little"), 0)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _read(directory: str) -> _Attempt | None:
    try:
        with open(f"{directory}/idle", "rb") as file:
            data = file.read(_RECORD.size + 4)
    except OSError:
        return None
    body, checksum = data[:-4], data[-4:]
    if len(body) != _RECORD.size or body[:8] != _MAGIC or zlib.crc32(body).to_bytes(4, "little") != checksum:
        return None
    _, worked_ns, looked_ns, cpu_ns, io_bytes, output, report = _RECORD.unpack(body)
    return _Attempt(Signs(cpu_ns, io_bytes, output, report), looked_ns, worked_ns)
