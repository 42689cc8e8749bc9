"""Where an attempt's item log is on this host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from metercore.report import dropped_event_count

if TYPE_CHECKING:
    from metercore.itemlog import ItemLogReader

REPORT_BYTES = 4096
"""TM_REPORT_BYTES of native/metercore/_c/report.h."""


class LocalItems:
    """Implements `core.ports.ItemSource`."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def exists(self) -> bool:
        return os.access(self._path, os.F_OK)  # no exception where there is none, as nearly always

    def dropped_count(self) -> int:
        try:
            # The file is the task's: it may be a link, or a pipe that nobody writes to.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(f"{os.path.dirname(self._path)}/report", flags)
        except OSError:
            return 0
        try:
            return dropped_event_count(os.read(descriptor, REPORT_BYTES))
        except OSError:
            return 0
        finally:
            os.close(descriptor)

    def open(self, offsets: Mapping[str, int]) -> ItemLogReader:
        from metercore.itemlog import ItemLogReader  # noqa: PLC0415  # no start waits for what many daemons never need

        return ItemLogReader(self._path, offsets)
