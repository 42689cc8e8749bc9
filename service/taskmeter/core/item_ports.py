"""What the core needs from the outside for what the work of tasks reports: item logs to read, and a store of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from taskmeter.model.item import Item, ItemHistory, ItemStats, ItemStatus, LogLine, MessageLevel, Said
from taskmeter.model.task import Task

ItemRow = tuple[bytes, str, int, int, str, str, int, str, float, tuple[int, ...]]
"""State of an item after a batch: key, stage, status (0 = as it was), attempt, error, worker, size, metadata as JSON, time, and
which of the batch's events were of it."""


class ItemBatch(Protocol):
    """Events of one attempt that its work has reported, in order, as they come from an item log; see metercore.itemlog."""

    @property
    def count(self) -> int: ...
    @property
    def kinds(self) -> bytes:
        """One EventKind per event."""

    @property
    def offsets(self) -> Mapping[str, int]:
        """How far each segment has been read with this batch."""

    @property
    def last_time(self) -> float:
        """Of the newest event."""

    @property
    def bad_count(self) -> int:
        """Places where no record was found in what is no log any more, and records that are not possible."""

    @property
    def dropped_count(self) -> int:
        """Events that the work had no room to write."""

    def frames(self, first_seq: int, token: str, attempt: int, tags: Mapping[str, str]) -> bytes:
        """The events, each framed as a `StreamEventsResponse.events` field."""

    def items(self) -> Sequence[ItemRow]:
        """The state of each item that had events."""

    def messages(self) -> Sequence[tuple[int, str, float]]:
        """Level, text and time of each message."""


class ItemLog(Protocol):
    """Reads an attempt's item log, off the loop; believes nothing that is in it."""

    def read(self, most_bytes: int, ended: bool) -> ItemBatch | None:
        """Return what is new since the last commit, None if nothing is. `ended`: nobody writes any more. Raises `OSError`."""

    def commit(self) -> Sequence[str]:
        """What `read` returned last is on disk elsewhere. Remove segments that are done with; return the names of all gone."""

    def close(self) -> None: ...


class ItemSource(Protocol):
    """Where an attempt's item log is, if it makes one. May be used off the loop."""

    def exists(self) -> bool:
        """Tell whether there is one by now."""

    def dropped_count(self) -> int:
        """How many events found no room in the log, of all processes so far."""

    def open(self, offsets: Mapping[str, int]) -> ItemLog:
        """Go on reading at these offsets. Raises `OSError`."""


class Intake(Struct, frozen=True, gc=False):
    """A batch to be committed together with how far the log was read: either both are on disk, or neither is."""

    task: Task
    """Whose it is; only its names and tags count."""
    attempt: int
    batch: ItemBatch
    gone: tuple[str, ...] = ()
    """Segments that no longer exist, so that nobody needs their offsets."""


class ItemStore(Protocol):
    """Reads what the work of a task has reported. Tokens that had nothing to report are like those that do not exist."""

    def get(self, token: str, key: bytes) -> Item | None:
        """Return how one item stands."""

    def select(
        self, token: str, statuses: Sequence[ItemStatus], stage: str, after: tuple[int, bytes], limit: int
    ) -> tuple[list[Item], tuple[int, bytes] | None]:
        """Return up to `limit` items, and where the next page begins, None if this was the last one.

        Args:
            token: whose items.
            statuses: which; none = all.
            stage: the stage they are in; "" = any.
            after: what the page before said; (0, b"") = from the start.
            limit: how many; there may be fewer, even none, before the last page.
        """

    def stats(self, token: str) -> ItemStats:
        """Return how many items stand how; costs the same for any number of items."""

    def history(self, token: str, key: bytes, from_seq: int, limit: int) -> ItemHistory | None:
        """Return up to `limit` events of one item from `from_seq` on; None if there is no such item."""

    def newest(self, token: str, level: MessageLevel, limit: int) -> list[LogLine]:
        """Return the newest messages of a level that are kept, oldest first."""

    def said(self, token: str, attempt: int) -> Said:
        """Return what the task's status shows of the messages of its newest attempt."""

    def reported(self) -> dict[str, int]:
        """Return, by token, the newest reported event of each live task that has any."""

    def offsets(self, token: str, attempt: int) -> dict[str, int]:
        """Return how far each segment of an attempt's item log was read."""

    def attempts_with_offsets(self) -> list[tuple[str, int]]:
        """Return (token, attempt) of all logs that are not known to have been read to their end."""

    async def forget_offsets(self, token: str, attempt: int) -> None:
        """An attempt's log was read to its end. Raises what `Store.commit` raises."""

    async def purge(self) -> bool:
        """Remove some rows of tasks that were deleted; tells whether there may be more. Raises what `Store.commit` raises."""
