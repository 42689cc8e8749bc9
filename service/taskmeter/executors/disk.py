"""How much room a task's files take, and giving room back from the head of an output."""

from __future__ import annotations

import os
import stat

from metercore.hole import punch_hole

BLOCK_BYTES = 512
"""Unit of st_blocks."""


def disk_bytes(path: bytes) -> int:
    """Return the disk space of everything below a directory, itself included; 0 when it does not exist."""
    try:
        total = os.lstat(path).st_blocks * BLOCK_BYTES
    except OSError:
        return 0
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * BLOCK_BYTES
            except OSError:
                continue
    return total


def log_bytes(path: bytes) -> int:
    """Return the size of a regular file; 0 for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def log_start(path: bytes) -> int:
    """Return where the first data of a regular file lies: what was punched is a hole. 0 where the file system cannot tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return 0
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:  # it is empty, or seeking data is not known here
        return 0
    finally:
        os.close(descriptor)


def punch_log(path: bytes, end: int) -> None:
    """Punch a hole from 0 to `end`. The task owns this directory entry: a link or anything not an output is left alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and end <= found.st_size:
            punch_hole(descriptor, 0, end)
    finally:
        os.close(descriptor)
