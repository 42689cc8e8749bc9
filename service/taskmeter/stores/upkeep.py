"""What retention asks of the store: which tasks have ended, their sizes, old events, and where kept outputs begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import apsw

from taskmeter import failpoints
from taskmeter.model.retention import EndedTask
from taskmeter.model.state import Outcome
from taskmeter.stores.failure import reads

PAGE_COUNT = 1000
"""Rows per statement: the loop reads them, and the writer is held up by nobody for long."""


class SqliteUpkeep:
    """Implements `core.ports.Upkeep`. `in_transaction` calls on the writer thread, which alone uses `writing`."""

    def __init__(
        self,
        reading: apsw.Connection,
        writing: apsw.Connection,
        queries: Mapping[str, str],
        in_transaction: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._read = reading
        self._write = writing
        self._queries = queries
        self._in_transaction = in_transaction

    @reads
    def ended(self, after: tuple[float, str]) -> list[EndedTask]:
        rows: list[Any] = self._read.execute(self._queries["ended_tasks"], (*after, PAGE_COUNT)).fetchall()
        return [EndedTask(token, Outcome(outcome), end, bool(key), size) for token, outcome, end, key, size, _ in rows]

    @reads
    def unmeasured(self, limit: int) -> list[tuple[str, int]]:
        rows: list[Any] = self._read.execute(self._queries["unmeasured_tasks"], (limit,)).fetchall()
        return rows

    @reads
    def ended_count(self) -> int:
        return int(self._read.execute(self._queries["count_ended"]).get)

    @reads
    def ended_bytes(self) -> int:
        return int(self._read.execute(self._queries["bytes_of_ended"]).get)

    async def put_sizes(self, sizes: Sequence[tuple[str, int, int]]) -> None:
        def run() -> None:
            self._write.executemany(self._queries["put_size"], sizes)

        await self._in_transaction(run)

    async def compact_events(self, before_time: float, before_seq: int) -> int:
        def run() -> int:
            last = deleted = 0
            rows: list[Any] = self._write.execute(self._queries["oldest_blocks"], (PAGE_COUNT,)).fetchall()
            for last_seq, time in rows:
                if time >= before_time and last_seq >= before_seq:
                    break  # the sequence keeps no holes: what is newer stays, whatever its own time says
                last, deleted = last_seq, deleted + 1
            if deleted:
                self._write.execute(self._queries["delete_blocks"], (last,))
                failpoints.hit("events.at_compaction")
                self._write.execute(self._queries["put_meta"], ("first_seq", last + 1))
            return deleted

        deleted: int = await self._in_transaction(run)
        return deleted

    @reads
    def log_starts(self) -> dict[tuple[str, int, str], int]:
        rows: list[Any] = self._read.execute(self._queries["log_starts"]).fetchall()
        return {(token, attempt, name): offset for token, attempt, name, offset in rows}

    async def put_log_start(self, token: str, attempt: int, name: str, offset: int) -> None:
        def run() -> None:
            self._write.execute(self._queries["put_log_start"], (token, attempt, name, offset))

        await self._in_transaction(run)
