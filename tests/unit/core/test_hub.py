"""The newest events in memory: the same sequence for those in step and for those that lag."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskmeter.core import hub as hub_module
from taskmeter.core.hub import READ_LIMIT, Hub
from taskmeter.core.ports import Block
from tests.waiting import wait_until_async


class Kept:
    """A store that holds blocks in a list."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.head_seq = 0
        self.reads = 0

    def read_events(self, from_seq: int, limit: int, token: str = "") -> list[Block]:
        self.reads += 1
        wanted = [block for block in self.blocks if block.last_seq >= from_seq and token in ("", block.token)]
        return wanted[:limit]


def block(first: int, last: int, token: str = "a", size_bytes: int = 10) -> Block:
    count = last - first + 1
    return Block(first, last, token, {}, b"\x01" * count, (b"x" * size_bytes,) * count, "default")


async def test_who_lags_behind_memory_reads_the_store_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TAIL_BYTES", 1000)
    store: Any = Kept()
    hub = Hub(store)
    for number in range(600):
        store.blocks.append(block(2 * number + 1, 2 * number + 2, token="ab"[number % 2]))
        hub.publish(store.blocks[-1])
    assert hub.head_seq == 1200
    seen: list[int] = []
    while len(seen) < 600:
        blocks = hub.read(seen[-1] + 1 if seen else 1)
        assert 0 < len(blocks) <= READ_LIMIT
        seen += [each.last_seq for each in blocks]
    assert seen == list(range(2, 1201, 2))
    reads = store.reads
    assert [each.last_seq for each in hub.read(1199)] == [1200] and hub.read(1201) == ()
    assert [each.last_seq for each in hub.read(1197, "a")] == [1198]
    assert store.reads == reads, "the newest come from memory"


async def test_waiting_ends_with_the_next_event_or_the_time() -> None:
    store: Any = Kept()
    hub = Hub(store)
    waiter = asyncio.ensure_future(hub.wait(30))
    await wait_until_async(lambda: hub._waiters, "it waits")
    hub.publish(block(1, 1))
    await asyncio.wait_for(waiter, 5)
    await hub.wait(0.0)
    cancelled = asyncio.ensure_future(hub.wait(30))
    await wait_until_async(lambda: hub._waiters, "it waits")
    cancelled.cancel()
    hub.publish(block(2, 2))
    await asyncio.gather(cancelled, return_exceptions=True)
    assert hub.head_seq == 2
