"""Bytes that no serializer makes: wrong wire types, texts that are not UTF-8, messages in messages without end."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT, FIXED64, LENGTH, GROUP_START, GROUP_END, FIXED32 = 0, 1, 2, 3, 4, 5
NOT_UTF8 = (b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf")
"""A byte that never occurs, a broken pair, a surrogate, beyond the last character, an overlong slash."""
MAX_DEPTH = 3


def varint(number: int) -> bytes:
    """Encode a number of up to 64 bits."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def field(number: int, payload: bytes) -> bytes:
    """A field with a length."""
    return tag(number, LENGTH) + varint(len(payload)) + payload


def wrong_types(descriptor: Descriptor) -> Iterator[bytes]:
    """Every field of a message, once with each wire type there is, the two that do not exist among them."""
    values = {
        VARINT: b"\x01",
        FIXED64: b"\xff" * 8,
        LENGTH: b"\x02\xff\xff",
        GROUP_START: b"",
        GROUP_END: b"",
        FIXED32: b"\xff" * 4,
    }
    for each in descriptor.fields:
        for wire_type in range(8):
            yield tag(each.number, wire_type) + values.get(wire_type, b"\x00")
        yield tag(each.number, GROUP_START) + tag(each.number, GROUP_END)
    yield b"\x00"  # field number 0
    yield tag(2**29 - 1, LENGTH) + b"\xff\xff\xff\xff\x0f"  # a length of 4 GiB that does not follow


def not_utf8(descriptor: Descriptor, depth: int = 0) -> Iterator[bytes]:
    """Every text of a message and of those within, once with each sequence that is none; keys and values of maps, too."""
    for each in descriptor.fields:
        if each.type == FieldDescriptor.TYPE_STRING:
            for text in NOT_UTF8:
                yield field(each.number, text)
        elif each.message_type is not None and depth < MAX_DEPTH:
            for inner in not_utf8(each.message_type, depth + 1):
                yield field(each.number, inner)


def nested(descriptor: Descriptor, depth: int) -> Iterator[bytes]:
    """Messages and groups within one another: unknown fields, and each message of this one's as if it had itself."""
    groups = b"".join(tag(1000, GROUP_START) for _ in range(depth))
    yield groups
    yield groups + b"".join(tag(1000, GROUP_END) for _ in range(depth))
    for each in descriptor.fields:
        if each.message_type is not None:
            data = b""
            for _ in range(depth):
                data = field(each.number, data)
            yield data
