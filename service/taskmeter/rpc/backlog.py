"""Events that are no longer in memory, read from the store in pages that those who lag at the same place share."""

from __future__ import annotations

from metercore.ring import EventRing
from taskmeter.core.hub import Hub

PAGE_BYTES = 256 * 1024
MOST_PAGES = 8
"""Kept for whoever comes next; what subscribers that lag cost together is so bounded, however many they are."""
MOST_ROWS = 500
FEWEST_ROWS = 4


class Page:
    """All events of [`from_seq`, `to_seq`], or those of one task."""

    __slots__ = ("from_seq", "ring", "to_seq", "token")

    def __init__(self, token: str, from_seq: int, to_seq: int, ring: EventRing) -> None:
        self.token = token
        self.from_seq = from_seq
        self.to_seq = to_seq
        self.ring = ring


class Backlog:
    """Pages, the one used last at the end."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pages: list[Page] = []
        self._rows = 64

    def page(self, from_seq: int, token: str) -> Page:
        """Return a page that holds `from_seq`, which is at most the head. Raises what `Store.read_events` raises."""
        pages = self._pages
        for index in range(len(pages) - 1, -1, -1):
            page = pages[index]
            if page.from_seq <= from_seq <= page.to_seq and page.token == token:
                pages.append(pages.pop(index))
                return page
        page = self._read(from_seq, token)
        pages.append(page)
        del pages[:-MOST_PAGES]
        return page

    def _read(self, from_seq: int, token: str) -> Page:
        rows = self._rows
        head = self._hub.head_seq
        found = self._hub.store.read_events(from_seq, rows, token, PAGE_BYTES)
        # The store may be ahead of what this loop has been told; later events come through the hub.
        blocks = [block for block in found if block.last_seq <= head]
        size_bytes = sum(len(block.frames) for block in blocks)
        if blocks:
            self._rows = max(FEWEST_ROWS, min(MOST_ROWS, PAGE_BYTES * len(blocks) // max(1, size_bytes)))
        ring = EventRing(max(1024, size_bytes, 16 * sum(len(block.kinds) for block in blocks)))
        for block in blocks:
            ring.append(block.first_seq, block.kinds, block.frames, block.tenant, block.token, dict(block.tags))
        all_read = len(found) < rows and sum(len(block.frames) for block in found) < PAGE_BYTES
        return Page(token, from_seq, head if all_read or not blocks else blocks[-1].last_seq, ring)

    def forget(self) -> None:
        """Drop all pages: nobody follows any more."""
        self._pages.clear()
