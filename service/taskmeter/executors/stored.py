"""What lies in the task directories: all that is left of tasks when the store is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator

from taskmeter.core.ports import Claimed, Stored
from taskmeter.executors import taskdir
from taskmeter.model.ids import is_token

MAX_RECORD_BYTES = 8 * 1024 * 1024


def stored_attempts(state: bytes) -> Iterator[Stored]:
    """Yield every attempt that has a directory; those of one task together, the newest first."""
    for shard in _names(state + b"/tasks"):
        for name in _names(b"%s/tasks/%s" % (state, shard)):
            token = os.fsdecode(name)
            if not is_token(token) or taskdir.task_path(state, token) != b"%s/tasks/%s/%s" % (state, shard, name):
                continue
            numbers = [int(each) for each in _names(taskdir.task_path(state, token)) if each.isdigit()]
            for number in sorted(numbers, reverse=True):
                directory = taskdir.attempt_path(state, token, number)
                yield Stored(token, number, _read(directory + b"/spec"), _claim(directory))


def rewrite_record(directory: bytes, record: bytes) -> None:
    """Replace the record of an attempt in one step; nothing if its directory is gone."""
    staged = directory + b"/spec.new"
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        os.rename(staged, directory + b"/spec")
    except OSError:
        os.unlink(staged)
        raise


def _claim(directory: bytes) -> Claimed | None:
    path = directory + b"/claim"
    try:
        claim_time = os.stat(path).st_mtime
    except OSError:
        return None
    claim = taskdir.unpack_claim(_read(path))
    if claim is None:  # torn by a power cut, and so is what was launched
        return Claimed(0, "", claim_time)
    return Claimed(claim.incarnation, claim.boot_id, claim_time)


def _names(path: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_RECORD_BYTES)
    except OSError:
        return b""
