"""Cancel a blocking read that has been silent for too long; a read has no timeout of its own in gRPC's sync API."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self


class Watchdog:
    """One thread that looks at one deadline; with `limit_seconds` None there is neither."""

    def __init__(self, cancel: Callable[[], object], limit_seconds: float | None) -> None:
        self._cancel = cancel
        self._limit_seconds = limit_seconds
        self._deadline = math.inf
        """Written by the reading thread, read by the watching one; one float, so no lock."""
        self._closed = threading.Event()
        self.fired = False

    def __enter__(self) -> Self:
        if self._limit_seconds is not None:
            threading.Thread(target=self._watch, args=(self._limit_seconds,), name="taskmeter-watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count silence only inside: what the caller does between two reads takes as long as it takes."""
        self._deadline = time.monotonic() + (self._limit_seconds or math.inf)
        try:
            yield
        finally:
            self._deadline = math.inf

    def _watch(self, limit_seconds: float) -> None:
        while not self._closed.wait(min(limit_seconds / 4, 1.0)):
            if time.monotonic() > self._deadline:
                self.fired = True
                self._cancel()
                return
