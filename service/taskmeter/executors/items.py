"""Where an attempt's item log is on this host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metercore.itemlog import ItemLogReader


class LocalItems:
    """Implements `core.ports.ItemSource`."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def exists(self) -> bool:
        return os.access(self._path, os.F_OK)  # no exception where there is none, as nearly always

    def open(self, offsets: Mapping[str, int]) -> ItemLogReader:
        from metercore.itemlog import ItemLogReader  # noqa: PLC0415  # no start waits for what many daemons never need

        return ItemLogReader(self._path, offsets)
