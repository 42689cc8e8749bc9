"""The environment of a task: a few of the daemon's own variables, then the spec's, then ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

BASE_NAMES = ("PATH", "HOME", "USER", "SHELL", "LANG", "TZ", "TMPDIR")
BASE_PREFIX = "LC_"
DEFAULTS = {"PYTHONUNBUFFERED": "1"}
"""A Python child that writes to a file shows nothing until its buffer of 8 kB is full, or it ends."""


def base_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Choose what tasks get of the daemon's environment: nothing that could hold a secret of the daemon's."""
    chosen = {name: value for name, value in own.items() if name in BASE_NAMES or name.startswith(BASE_PREFIX)}
    return {**DEFAULTS, **chosen}


def compose(layers: Iterable[Mapping[str, str]]) -> list[bytes]:
    """Merge the layers, later ones winning, into NAME=value entries. Raises ValueError for what exec could not carry."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    entries = []
    for name, value in merged.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"not a valid environment variable: {name!r}")
        entries.append(f"{name}={value}".encode("utf-8", "surrogateescape"))
    return entries


def encode_argv(argv: Sequence[str]) -> list[bytes]:
    """Encode a command line. Raises ValueError when it is empty or exec could not carry it."""
    if not argv or any("\0" in argument for argument in argv):
        raise ValueError("argv is empty or contains NUL")
    return [argument.encode("utf-8", "surrogateescape") for argument in argv]
