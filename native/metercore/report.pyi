"""The report block: counters and text that the work shares with whoever watches it (layout: _c/report.h)."""

import os
from typing import NamedTuple, Self

class Report(NamedTuple):
    """What a report block says; every number is at least 0."""

    total_count: int
    completed_count: int
    failed_count: int
    total_size: int
    completed_size: int
    failed_size: int
    ready: bool
    status: str
    current_object: str
    custom: dict[str, int]

def parse_report(page: bytes) -> Report | None:
    """Parse a copy of a report block; None if it is none."""

def dropped_event_count(page: bytes) -> int:
    """Return how many events of the item log found no room, as a copy of a report block says; 0 if it is none."""

def revise_report(
    page: bytes,
    *,
    total_count: int | None = None,
    total_size: int | None = None,
    completed_count: int = 0,
    completed_size: int = 0,
    failed_count: int = 0,
    failed_size: int = 0,
    status: str | None = None,
    current_object: str | None = None,
    ready: bool = False,
    custom: dict[str, int] | None = None,
) -> bytes:
    """Return a report block with one more report in it; if `page` is none, with this one alone. It is nobody else's.

    Totals and texts are replaced unless None, all else is added. Raises OverflowError with the name of what would exceed
    2**62 - 1, ValueError with that of what is negative or cannot be a name, LookupError with that of a 17th counter.
    """

class ReportBlock:
    """Write the report block at a path; without a path, or where none can be made, write to private memory instead.

    Reporting never fails and never waits for a reader: the work must not stop because nobody can watch it. Counters may be
    changed from any thread and, after a fork, from any process.
    """

    @property
    def shared(self) -> bool:
        """Whether the block lies in the file, so that others see it."""
    def __init__(self, path: str | os.PathLike[str] | None = None) -> None: ...
    def add(self, n: int = 1, size: int = 0) -> None:
        """Count `n` more items as completed, with `size` bytes together. One or two atomic additions."""
    def fail(self, n: int = 1, size: int = 0) -> None:
        """Count `n` more items as failed, with `size` bytes together."""
    def progress(self, total: int | None = None, total_size: int | None = None) -> Self:
        """Say how many items, and how many bytes, there are to do; None leaves what was said. Returns self."""
    def expect(self, n: int = 1, size: int = 0) -> None:
        """Say that there are `n` more items, of `size` bytes together, to do than was said before; negative: fewer."""
    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to the counter `name` (24 bytes of UTF-8 at most); the 17th name and later ones are not counted."""
    def status(self, text: str) -> Self:
        """Say in a few words what the work is doing; cut at 500 bytes of UTF-8. Returns self."""
    def object(self, text: str) -> Self:
        """Name what is being worked on, such as a file; cut at 500 bytes of UTF-8. Returns self."""
    def ready(self) -> Self:
        """Announce that initialisation is over (for tasks started with `announces_ready`). Returns self."""
    def drop(self, n: int = 1) -> None:
        """Count `n` events of the item log that found no room: this page has its room already, whatever the disk says."""
    def read(self) -> Report:
        """Return what the block says now."""
    def _take_lock(self) -> bool:
        """Take the text lock and keep it: for tests of what happens when its owner dies."""
