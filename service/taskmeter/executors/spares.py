"""Descriptors kept for the day when there are no others: a stop must be ordered and an end read even then."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SPARE_COUNT = 32


class Spares:
    """Belongs to the loop's thread."""

    def __init__(self, count: int = SPARE_COUNT) -> None:
        self._count = count
        self._descriptors: list[int] = []
        self._take()

    def lend(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; if it runs out of descriptors, it is called once more with the spare ones free.

        `work` may keep one or two, and must be harmless to repeat. Raises what `work` raises.
        """
        try:
            return work()
        except OSError as error:
            if error.errno != errno.EMFILE or not self._descriptors:
                raise
        self.close()
        try:
            return work()
        finally:
            self._take()

    def _take(self) -> None:
        try:
            while len(self._descriptors) < self._count:
                self._descriptors.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
        except OSError:
            pass  # what was freed meanwhile by others is taken the next time

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
