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


def pick_frames(data: bytes, indexes: list[int]) -> list[bytes]:
    """Return the frames of `data` at these ascending indexes; others are passed over."""
    frames: list[bytes] = []
    start, end, index = 0, len(data), 0
    for wanted in indexes:
        while start < end:
            position, length, shift = start + 1, 0, 0
            while True:
                byte = data[position]
                position += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
            begin, start = start, position + length
            index += 1
            if index > wanted:
                frames.append(data[begin:start])
                break
    return frames
