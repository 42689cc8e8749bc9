"""Locks by name: one at a time for each name, and none is kept."""

from __future__ import annotations

import asyncio

import pytest

from taskmeter.core.named_locks import NamedLocks


async def test_one_at_a_time_holds_a_name_and_others_do_not_wait_for_it() -> None:
    locks, order = NamedLocks(), []
    go_on = asyncio.Event()

    async def hold(name: str, text: str) -> None:
        async with locks.hold(name):
            order.append(f"{text} begins")
            if name == "a":
                await go_on.wait()
            order.append(f"{text} ends")

    work = [asyncio.ensure_future(hold(*each)) for each in (("a", "first"), ("a", "second"), ("b", "other"))]
    await work[2]
    assert order == ["first begins", "other begins", "other ends"]
    go_on.set()
    await asyncio.gather(*work)
    assert order[3:] == ["first ends", "second begins", "second ends"]


async def test_a_name_is_free_after_an_error_and_for_those_who_still_wait_when_one_gives_up() -> None:
    locks, asked = NamedLocks(), asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("a"):
            raise ZeroDivisionError

    async def want() -> str:
        asked.set()
        async with locks.hold("a"):
            return "held"

    async with locks.hold("a"):
        gives_up, waits = asyncio.ensure_future(want()), asyncio.ensure_future(want())
        await asked.wait()
        gives_up.cancel()
    assert await waits == "held"
    assert gives_up.cancelled()
    assert await want() == "held"
