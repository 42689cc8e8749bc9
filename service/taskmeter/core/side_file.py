"""Definitions that no task's directory has, kept in a file besides the store, for the day the store is built anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from taskmeter.errors import TaskmeterError

T = TypeVar("T")

log = logging.getLogger(__name__)


class SideFile(Protocol[T]):
    """Where definitions of one kind lie besides the store."""

    def load(self) -> list[T]:
        """Read them; none if nothing was ever kept. Raises `UnavailableError` saying what is wrong with the file."""

    def save(self, kept: Sequence[T]) -> None:
        """Replace all of them in one step, durably. Raises `LimitError` DISK_FULL, `UnavailableError`. May block."""


def read_back(file: SideFile[T], consequence: str) -> list[T]:
    """Return what the file has for a store that is built anew; none, and a line in the log, if it cannot be used."""
    try:
        return file.load()
    except TaskmeterError as error:
        log.error("%s; %s", error.message, consequence)
        return []


def match(file: SideFile[T], kept: Sequence[T], key: Callable[[T], tuple[str, str]]) -> None:
    """At a start: bring the file to what the store has, if it was not there yet, or a commit failed after it was written."""
    try:
        if sorted(file.load(), key=key) == sorted(kept, key=key):
            return
    except TaskmeterError as error:
        log.warning("%s; it is written anew", error.message)
    try:
        file.save(kept)
    except TaskmeterError as error:
        log.warning("%s; should the database be lost, so are they", error.message)
