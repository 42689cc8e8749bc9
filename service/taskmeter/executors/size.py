"""How much of the disk a task's directory takes."""

from __future__ import annotations

import os

BLOCK_BYTES = 512
"""Unit of st_blocks (stat(2)), whatever the file system's own block is."""


def allocated_bytes(directory: bytes) -> int:
    """Return the bytes allocated under `directory`: holes are not counted, links not followed; what goes meanwhile is nothing."""
    total = 0
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        total += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                    except OSError:
                        continue
        except OSError:
            continue
    return total
