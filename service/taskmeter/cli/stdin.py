"""What the task reads from its standard input: what is piped into us, or a file. There is no live one."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path

import click

from taskmeter.errors import InvalidArgumentError

MAX_BYTES = 1 << 20
"""The contract's bound of `stdin_data`."""
NOTICE_SECONDS = 2.0


def from_file(path: str, command: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Return what of the file given with --stdin travels with the task, and the command to run.

    A regular file of more than 1 MiB is opened where the task runs, by a shell that becomes the command. Raises
    `InvalidArgumentError` if the file is unreadable, or too large and no regular file.
    """
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                return b"", ("sh", "-c", 'exec "$@" < "$0"', os.path.abspath(path), *command)
            return _bounded(file.read(MAX_BYTES + 1), path), command
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {path}: {error.strerror}", fields=[("--stdin", str(error.strerror))]) from None


def read_piped() -> bytes:
    """Read our own standard input to its end if it is a pipe, a socket or a file; terminals and devices are left alone."""
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):
        return b""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return b""
    data = bytearray()
    noticed = False
    while len(data) <= MAX_BYTES:
        if not noticed and not select.select([descriptor], [], [], NOTICE_SECONDS)[0]:
            click.echo("reading standard input to its end before the task starts; `</dev/null` gives it none", err=True)
            noticed = True
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        data += piece
    return _bounded(bytes(data), "standard input")


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise InvalidArgumentError(
            f"{what} has more than 1 MiB",
            fields=[("spec.stdin_data", "at most 1 MiB")],
            hint="put it into a file and give that with --stdin FILE",
        )
    return data
