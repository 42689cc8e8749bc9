"""What lies in the task directories: all that is left of tasks when the store is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from taskmeter.core.ports import Claimed, Stored
from taskmeter.executors import taskdir
from taskmeter.model.ids import is_token
from taskmeter.model.task import Cause, StopOrder

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
                yield Stored(token, number, _read(directory + b"/spec"), _claim(directory), _order(directory))


def rewrite_record(directory: bytes, record: bytes, *, mode: int = 0o700, durable: bool = True) -> None:
    """Replace the record of an attempt in one step, making its directory with `mode`; nothing if the task's own is gone."""
    staged = directory + b"/spec.new"
    try:
        os.mkdir(directory, mode)
    except FileNotFoundError:
        return
    except FileExistsError:
        pass
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(record)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.rename(staged, directory + b"/spec")
    except OSError:
        os.unlink(staged)
        raise


def drop_attempt(directory: bytes) -> None:
    """Remove what has been prepared and never launched: first the record, without which it is nothing. Raises `OSError`."""
    for name in (b"/spec", b"/spec.new"):
        with suppress(FileNotFoundError):
            os.unlink(directory + name)
    with suppress(FileNotFoundError):
        os.rmdir(directory)


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


def _order(directory: bytes) -> StopOrder | None:
    path = directory + b"/ctl"
    order = taskdir.unpack_ctl(_read(path))
    if order is None or not order.cause:
        return None
    return StopOrder(Cause(order.cause), os.stat(path).st_mtime, order.grace_ns / 1e9, serial=order.serial)


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
