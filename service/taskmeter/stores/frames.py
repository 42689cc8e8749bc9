"""Split concatenated protobuf frames (tag byte, varint length, bytes) without decoding them."""

from __future__ import annotations


def split_frames(data: bytes) -> tuple[bytes, ...]:
    """Return each frame of `data`, its tag and length included. The tag must fit in one byte (field numbers 1–15)."""
    frames = []
    start, end = 0, len(data)
    while start < end:
        position, length, shift = start + 1, 0, 0
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        frames.append(data[start : position + length])
        start = position + length
    return tuple(frames)
