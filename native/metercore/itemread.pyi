"""The daemon's side of the item log: takes what the work wrote, and believes nothing of it (layout: _c/itemlog.h)."""

import os
from collections.abc import Mapping

from metercore.itembatch import Batch

class ItemLogReader:
    """Read the item log in a directory from where it was durably stored: `offsets` by name of the segment.

    Use: `batch = reader.read()`, store its events together with `batch.offsets` in one transaction, `reader.commit()`, and forget
    the offsets of the names that it returns. Whatever dies in between, each event that was published is stored once. Without
    a commit the next read begins where this one did.

    The order of each writer is kept; writers take turns. Files are read, never mapped, each by its own process's name only;
    links, pipes and directories are left alone. Damaged bytes cost the records that they hit, and are counted. Not for several
    threads.
    """

    def __init__(self, directory: str | os.PathLike[str], offsets: Mapping[str, int] | None = None) -> None: ...
    def read(self, most_bytes: int = ..., ended: bool = False) -> Batch | None:
        """Return what is new, at most `most_bytes` of records (16 KiB at least); None if there is nothing.

        `ended`: all writers are known to be dead, so that nothing has to be left for them; else a writer that says nothing is
        looked for every 250 ms. Raises OSError if the directory cannot be read, MemoryError; one that does not exist is empty.
        """
    def commit(self) -> list[str]:
        """Take note that the last batch is durable; remove segments that are read to their end, for good.

        Returns the names of all that are gone since the last commit, also those that somebody else removed.
        """
    def close(self) -> None:
        """Close all files. Nothing can be read afterwards."""
