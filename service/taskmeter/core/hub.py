"""The newest events in memory, and who waits for the next one.

Subscribers hold a cursor, nothing else: a reader that lags behind the memory's tail reads from the store, so none of them can
hold the writer or make it keep more.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence

from taskmeter.core.ports import Block, Store

TAIL_BYTES = 4 * 2**20
"""Encoded events kept in memory; cut back to this when twice as many have come."""

BUSY_TICK_SECONDS = 0.002
"""Wake-ups are at least this far apart, so that under load one message carries many events; an idle hub wakes at once."""

READ_LIMIT = 500


class Hub:
    """The head of the event sequence; lives on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.head_seq = store.head_seq
        self._tail: list[Block] = []
        self._tail_bytes = 0
        self._tail_from_seq = self.head_seq + 1
        self._waiters: list[asyncio.Future[None]] = []
        self._last_wake = 0.0
        self._wake_planned = False

    def publish(self, block: Block) -> None:
        """Append a committed block; blocks come in order of seq."""
        self._tail.append(block)
        self.head_seq = block.last_seq
        self._tail_bytes += sum(map(len, block.frames))
        if self._tail_bytes >= 2 * TAIL_BYTES:
            self._trim()
        if self._waiters and not self._wake_planned:
            self._wake_planned = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._last_wake + BUSY_TICK_SECONDS), self.wake)

    def _trim(self) -> None:
        dropped = 0
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= sum(map(len, self._tail[dropped].frames))
            dropped += 1
        del self._tail[:dropped]
        self._tail_from_seq = self._tail[0].first_seq if self._tail else self.head_seq + 1

    def wake(self) -> None:
        """Wake everybody who waits."""
        self._wake_planned = False
        self._last_wake = asyncio.get_running_loop().time()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout_seconds: float) -> None:
        """Return when something was published, or the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        handle = asyncio.get_running_loop().call_later(max(0.0, timeout_seconds), _finish, waiter)
        try:
            await waiter
        finally:
            handle.cancel()
            if not waiter.done():
                waiter.cancel()
            if len(self._waiters) > 64:
                self._waiters = [other for other in self._waiters if not other.done()]

    def read(self, from_seq: int, token: str = "") -> Sequence[Block]:
        """Return the next blocks that hold `from_seq` or later, in order, at most `READ_LIMIT`; of one task if `token`."""
        if from_seq > self.head_seq:
            return ()
        if from_seq < self._tail_from_seq:
            blocks = self._store.read_events(from_seq, READ_LIMIT, token)
            # The store may be ahead of what this loop has been told; later events come through publish().
            return [block for block in blocks if block.last_seq <= self.head_seq]
        start = bisect_left(self._tail, from_seq, key=_last_seq)
        if not token:
            return self._tail[start : start + READ_LIMIT]
        return [block for block in self._tail[start:] if block.token == token][:READ_LIMIT]


def _last_seq(block: Block) -> int:
    return block.last_seq


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
