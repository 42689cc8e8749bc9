"""`--env-file`: secrets for a task, from a file that nobody else can read. They never stand in a command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

import click

MAX_BYTES = 512 * 1024


def read_env_files(paths: Iterable[str]) -> dict[str, str]:
    """Return all variables; later files win. Raises `click.UsageError` that names file and line, never a value."""
    found: dict[str, str] = {}
    for path in paths:
        found |= _read(path)
    return found


def _read(path: str) -> dict[str, str]:
    """Read NAME=VALUE lines. A value is taken as it stands, or without the one pair of quotes around it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise click.UsageError(f"cannot read --env-file {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise click.UsageError(f"--env-file {path} is not a file")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise click.UsageError(f"--env-file {path} can be read or changed by others; make it yours alone: chmod 600 {path}")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise click.UsageError(f"--env-file {path} is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"--env-file {path} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, value = stripped.removeprefix("export ").partition("=")
        name = name.strip()
        if not separator or not name:
            raise click.UsageError(f"--env-file {path}, line {number}: not NAME=VALUE")
        found[name] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
