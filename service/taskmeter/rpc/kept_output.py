"""Where an output whose head is no longer kept can be read."""

from __future__ import annotations

import os

LINE_BYTES = 64 * 1024
"""How far the end of a cut line is looked for; beyond that reading begins within it."""


def kept_offset(descriptor: int, offset: int, first_available: int) -> int:
    """Return `offset`, or the first line that begins behind `first_available` if that is further."""
    if offset >= first_available:
        return offset
    # The byte before it decides whether a line begins there, but it is in the hole already: the line counts as cut.
    block = os.pread(descriptor, LINE_BYTES, first_available)
    newline = block.find(b"\n")
    return first_available + newline + 1 if newline >= 0 else first_available
