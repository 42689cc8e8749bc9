"""Length-delimited protobuf fields by hand: messages concatenate, so ready parts are joined, not re-encoded."""

from __future__ import annotations

EVENTS = b"\x0a"
"""StreamEventsResponse.events = 1."""
STATUSES = b"\x12"
"""StreamEventsResponse.statuses = 2."""


def varint(value: int) -> bytes:
    """Encode an unsigned integer base 128, least significant group first."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def frame(tag: bytes, body: bytes) -> bytes:
    """Return one field of wire type 2: tag, length, body."""
    return tag + varint(len(body)) + body
