"""The item log: what the work says about its items, steps and messages, and never waits for anybody (layout: _c/itemlog.h)."""

import os
from collections.abc import Mapping

from metercore.itembatch import Batch as Batch
from metercore.itemread import ItemLogReader as ItemLogReader

class ItemLog:
    """Write the item log in a directory; without one, or where nothing can be written, count what is dropped instead.

    An event is a few stores into memory that is shared with the daemon: it is readable at once, survives the death of this
    process, and costs no system call. Logging never fails because of the disk and never waits. What is not read takes 64 MiB
    at most; beyond that, and on a full disk, events are dropped and counted, and the log says so once there is room again.

    May be used from any thread. After a fork the child writes a log of its own.

    Texts that are too long are cut at a character: stage, worker and step at 200 bytes of UTF-8, errors at 2,000, messages at
    4,000, metadata at 4,000 in all with four bytes per entry. A name of an item is a text, an integer of 64 bits, or the
    canonical JSON of any other value (RFC 8785) as bytes; of more than 1,024 bytes, or none, it raises ValueError.

    >>> log = ItemLog()
    >>> log.item("page-1", 3, stage="render", size=2048)
    >>> log.shared, log.dropped_count
    (False, 1)
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None: ...
    @property
    def shared(self) -> bool:
        """Whether events reach the directory now."""
    @property
    def dropped_count(self) -> int:
        """How many events this process had no room for."""
    def item(
        self,
        item_id: str | int | bytes,
        status: int,
        stage: str = "",
        attempt: int = 0,
        error: str = "",
        worker: str = "",
        size: int = 0,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Say that an item changed: `status` as numbered in ItemStatus, `attempt` from 0, `size` in bytes (0 = unknown)."""
    def step(
        self,
        item_id: str | int | bytes,
        step: str,
        type: int,  # noqa: A002 — as on the wire
        stage: str = "",
        attempt: int = 0,
        error: str = "",
        worker: str = "",
        duration_seconds: float | None = None,
    ) -> None:
        """Say what happened to a step of an item: `type` as numbered in StepEventType, `attempt` from 0."""
    def message(self, level: int, text: str) -> None:
        """Say something: `level` as numbered in MessageLevel."""
    def close(self) -> None:
        """Give back the disk space that was not needed. Not necessary; a later event opens the log again."""
