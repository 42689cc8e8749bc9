"""Count Ctrl-C instead of dying of it, so that the view can ask what is meant."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self


class Interrupts:
    """SIGINT and SIGTERM while a task is watched. SIGHUP keeps its meaning: the view goes, the task stays."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._seen = 0
        self._pending = 0
        self.terminated = False
        """SIGTERM came: someone wants an orderly end without questions."""

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def any(self) -> bool:
        """At least one came at all."""
        return self._seen > 0

    def take(self) -> bool:
        """Return whether one came that was not taken yet, and take it."""
        if not self._pending:
            return False
        self._pending -= 1
        return True

    def _note(self, number: int, _: FrameType | None) -> None:
        self.terminated = self.terminated or number == signal.SIGTERM
        self._seen += 1
        self._pending += 1
