"""Single keys from the terminal, without echo, and put back as it was at the end."""

from __future__ import annotations

import contextlib
import os
import select
import termios
from typing import Any, Self


class Keyboard:
    """The controlling terminal while a live view is drawn on it; without one, no key ever comes."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            self._before = termios.tcgetattr(self._descriptor)
            quiet = termios.tcgetattr(self._descriptor)
            quiet[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, quiet)
        except (OSError, termios.error):
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError, termios.error):
            if self._before is not None:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        os.close(self._descriptor)
        self._descriptor = None

    @property
    def works(self) -> bool:
        """There is a terminal to ask."""
        return self._descriptor is not None

    def key(self, timeout_seconds: float = 0.0) -> str:
        """Return the next key in lower case, empty if none comes in time."""
        if self._descriptor is None or not select.select([self._descriptor], [], [], timeout_seconds)[0]:
            return ""
        try:
            return os.read(self._descriptor, 64).decode("utf-8", "replace")[:1].lower()
        except OSError:
            return ""
