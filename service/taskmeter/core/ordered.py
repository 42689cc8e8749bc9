"""A sorted sequence that knows ranks: for waiting tasks, of which there may be a hundred thousand.

Blocks of at most `MAX_BLOCK` sorted items: finding is two bisections, a change moves at most one block, a rank adds up the
lengths of the blocks before it (20 for 10,000 items).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

MAX_BLOCK = 1024

T = TypeVar("T", bound=Any)


class Ordered(Generic[T]):
    """Different comparable items in ascending order."""

    def __init__(self) -> None:
        self._blocks: list[list[T]] = []
        self._firsts: list[T] = []
        """The first item of each block."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from block

    @property
    def first(self) -> T | None:
        return self._blocks[0][0] if self._blocks else None

    def add(self, item: T) -> None:
        self._count += 1
        if not self._blocks:
            self._blocks.append([item])
            self._firsts.append(item)
            return
        index = max(0, bisect_right(self._firsts, item) - 1)
        block = self._blocks[index]
        insort(block, item)
        self._firsts[index] = block[0]
        if len(block) > MAX_BLOCK:
            half = block[MAX_BLOCK // 2 :]
            del block[MAX_BLOCK // 2 :]
            self._blocks.insert(index + 1, half)
            self._firsts.insert(index + 1, half[0])

    def remove(self, item: T) -> None:
        """Take an item out that is in it."""
        index = bisect_right(self._firsts, item) - 1
        block = self._blocks[index]
        del block[bisect_left(block, item)]
        self._count -= 1
        if block:
            self._firsts[index] = block[0]
        else:
            del self._blocks[index]
            del self._firsts[index]

    def rank(self, item: T) -> int:
        """How many items are before this one."""
        index = bisect_right(self._firsts, item) - 1
        if index < 0:
            return 0
        return sum(map(len, self._blocks[:index])) + bisect_left(self._blocks[index], item)
