"""Requests that nobody should send: messages built from the descriptors by hypothesis, and their bytes mutated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

MAX_DEPTH = 4
MAX_REPEATED = 4
NO_PIDS = (-(2**63), -1, 0, 2**22 + 1, 2**31, 2**63 - 1)
"""Beyond every pid_max: what is attached by accident would be somebody's process."""

TEXTS = st.one_of(
    st.sampled_from(["", "\0", "a", "..", "/", "../../etc/passwd", "stdout", "work/..", "\x1b[2J"]),
    st.sampled_from(["é" * 200, "x" * 5000, "%s{}", "-1", "true"]),
    st.text(max_size=40),
)
INTEGERS = {
    bits: st.one_of(st.sampled_from([0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]), st.integers(-1000, 1000))
    for bits in (32, 64)
}
UNSIGNED = {bits: st.one_of(st.sampled_from([0, 1, 2**bits - 1]), st.integers(0, 1000)) for bits in (32, 64)}
REALS = st.one_of(st.sampled_from([0.0, -0.0, -1.0, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 1e12]), st.floats())


def scalar(field: FieldDescriptor, tokens: Sequence[str]) -> st.SearchStrategy[Any]:
    """Any value of this field's type, the ends of its range among them, and tokens that exist where a token is meant."""
    kind = field.type
    if field.name == "pid":
        return st.sampled_from([pid for pid in NO_PIDS if kind == FieldDescriptor.TYPE_INT64 or -(2**31) <= pid < 2**31])
    if kind == FieldDescriptor.TYPE_STRING:
        return st.one_of(st.sampled_from(list(tokens)), TEXTS) if field.name in ("token", "tokens") else TEXTS
    if kind == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=64)
    if kind == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.TYPE_ENUM:
        return st.one_of(st.integers(-1, 20), st.sampled_from([2**31 - 1, -(2**31)]))  # proto3 enums are open
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return REALS if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else st.floats(width=32)
    bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    return (
        UNSIGNED[bits] if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) else INTEGERS[bits]
    )


def messages(descriptor: Descriptor, tokens: Sequence[str], depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of this type with any of their fields set."""
    make = message_factory.GetMessageClass(descriptor)
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        kind = field.message_type
        if kind is not None and depth >= MAX_DEPTH:
            continue
        if kind is not None and kind.GetOptions().map_entry:
            key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
            if value.message_type is not None:
                continue
            parts[field.name] = st.dictionaries(scalar(key, tokens), scalar(value, tokens), max_size=MAX_REPEATED)
        else:
            one = messages(kind, tokens, depth + 1) if kind is not None else scalar(field, tokens)
            parts[field.name] = st.lists(one, max_size=MAX_REPEATED) if field.is_repeated else one

    def built(chosen: dict[str, Any]) -> Message:
        return make(**chosen)

    if not parts:
        return st.builds(make)
    few = st.lists(st.sampled_from(sorted(parts)), max_size=3, unique=True).flatmap(  # with all of them, one is always wrong
        lambda names: st.fixed_dictionaries({name: parts[name] for name in names})
    )
    return st.one_of(few, st.fixed_dictionaries({}, optional=parts)).map(built)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change bytes as a broken or hostile client would: flips, cuts, doubled and inserted pieces, wrong lengths."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        how = chance.randrange(6)
        if how == 0 and found:
            found[at % len(found)] ^= 1 << chance.randrange(8)
        elif how == 1:
            del found[at:]
        elif how == 2:
            found[at:at] = chance.randbytes(chance.randint(1, 16))
        elif how == 3:
            found[at:at] = found[: chance.randint(0, len(found))]
        elif how == 4 and found:
            found[at % len(found)] = chance.choice((0x00, 0x7F, 0x80, 0xFF))
        else:
            found[at:at] = b"\xff" * chance.randint(1, 11)  # a varint without end
    return bytes(found)
