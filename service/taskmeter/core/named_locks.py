"""Locks by name that exist as long as somebody holds or wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from msgspec import Struct, field


class _Lock(Struct, eq=False):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    user_count: int = 0


class NamedLocks:
    """One lock per name."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}

    @asynccontextmanager
    async def hold(self, name: Hashable) -> AsyncIterator[None]:
        """Hold the lock of this name, after those that asked before."""
        found = self._locks.setdefault(name, _Lock())
        found.user_count += 1
        try:
            async with found.lock:
                yield
        finally:
            found.user_count -= 1
            if not found.user_count:
                del self._locks[name]
