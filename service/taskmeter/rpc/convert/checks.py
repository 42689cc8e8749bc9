"""Collect what is wrong with a request, field by field, and raise it all at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from taskmeter.errors import InvalidArgumentError, NotFoundError
from taskmeter.model.ids import is_token

MAX_MAP_KEYS = 64
MAX_MAP_VALUE_BYTES = 4096
MAX_MAP_KEY_BYTES = 256
MAX_NAME_BYTES = 256
MAX_SECONDS = 10 * 365 * 86400.0
MAX_TIME = 1e11
"""The year 5138: what is greater was given in milliseconds."""
_ENV_NAME = re.compile(r"[^=\0]+")


class Checks:
    """Violations found so far; each method tests one kind of field."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, field: str, problem: str) -> None:
        self.found.append((field, problem))

    def seconds(self, field: str, value: float, *, most: float = MAX_SECONDS) -> None:
        if not math.isfinite(value) or value < 0 or value > most:
            self.add(field, f"must be from 0 to {most:g} seconds")

    def instant(self, field: str, value: float) -> None:
        if not math.isfinite(value) or value < 0 or value > MAX_TIME:
            self.add(field, f"must be Unix seconds, from 0 to {MAX_TIME:g}")

    def count(self, field: str, value: int, *, most: int = 2**62) -> None:
        if not 0 <= value <= most:
            self.add(field, f"must be from 0 to {most}")

    def text(self, field: str, value: str, *, most_bytes: int = MAX_NAME_BYTES) -> None:
        if len(value.encode()) > most_bytes:
            self.add(field, f"is longer than {most_bytes} bytes")
        if "\0" in value:
            self.add(field, "contains a NUL byte")

    def string_map(self, field: str, values: Mapping[str, str]) -> None:
        if len(values) > MAX_MAP_KEYS:
            self.add(field, f"has {len(values)} keys; at most {MAX_MAP_KEYS} are kept")
        for key, value in values.items():
            if not key:
                self.add(field, "has an empty key")
            self.text(f"{field}[{key[:40]!r}]", key, most_bytes=MAX_MAP_KEY_BYTES)
            self.text(f"{field}[{key[:40]!r}]", value, most_bytes=MAX_MAP_VALUE_BYTES)

    def environment(self, field: str, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            if not _ENV_NAME.fullmatch(name):
                self.add(f"{field}[{name[:40]!r}]", "is not a name: it is empty or contains '=' or a NUL byte")
            elif name.startswith("TASKMETER_"):
                self.add(f"{field}[{name[:40]!r}]", "names starting with TASKMETER_ are set by the service")
            if "\0" in value:
                self.add(f"{field}[{name[:40]!r}]", "contains a NUL byte")

    def done(self) -> None:
        """Raise `InvalidArgumentError` naming every field, if anything was found."""
        if self.found:
            first = f"{self.found[0][0]}: {self.found[0][1]}"
            more = f" (and {len(self.found) - 1} more)" if len(self.found) > 1 else ""
            raise InvalidArgumentError(first + more, fields=self.found)


def checked_token(token: str) -> str:
    """Return `token` if it has a token's form; else FIELD_INVALID when empty, TASK_NOT_FOUND otherwise."""
    if not token:
        raise InvalidArgumentError("token: must not be empty", fields=[("token", "must not be empty")])
    if not is_token(token):
        raise NotFoundError("there is no task with this token")
    return token
