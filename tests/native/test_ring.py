"""The ring of framed events gives every reader just what matches, whatever was dropped before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metercore.ring import EventRing
from taskmeter.rpc.convert.frame import EVENTS, frame

TENANTS, TOKENS = ("one", "two"), ("a", "b", "c")
TAGS: tuple[dict[str, str], ...] = ({}, {"x": "1"}, {"x": "1", "y": "2"})
Block = tuple[str, str, dict[str, str], list[tuple[int, int]]]
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(TOKENS),
        st.sampled_from(TAGS),
        st.lists(st.tuples(st.sampled_from((1, 4, 63)), st.integers(0, 700)), min_size=1, max_size=5),
    ),
    max_size=30,
)


def framed(body: bytes) -> bytes:
    return frame(EVENTS, body)


@settings(max_examples=200, deadline=None)
@given(
    BLOCKS,
    st.integers(0, 60),
    st.integers(0, 3000),
    st.sets(st.sampled_from((1, 4, 63))),
    st.sampled_from(TENANTS),
    st.frozensets(st.sampled_from(TOKENS)),
    st.sampled_from(TAGS),
)
def test_it_joins_what_a_list_would(
    blocks: list[Block], back: int, most: int, kinds: set[int], tenant: str, tokens: frozenset[str], tags: dict[str, str]
) -> None:
    ring = EventRing(2048)
    events = []
    seq = 1
    for owner, token, its_tags, parts in blocks:
        frames = [framed(bytes([seq + index & 0xFF]) * size) for index, (_, size) in enumerate(parts)]
        ring.append(seq, bytes(kind for kind, _ in parts), b"".join(frames), owner, token, its_tags)
        events += [(seq + index, kind, owner, token, its_tags, frames[index]) for index, (kind, _) in enumerate(parts)]
        seq += len(parts)
        assert ring.last_seq == seq - 1 and ring.size_bytes <= 2048
    kept = [event for event in events if event[0] >= ring.first_seq]
    assert len(ring) == len(kept) and ring.size_bytes == sum(len(event[5]) for event in kept)
    begin = max(ring.first_seq, seq - back)
    data, reached, touched = ring.join(begin, most, sum(1 << kind for kind in kinds), tenant, tokens, tags)
    wanted = [
        event
        for event in kept
        if event[0] >= begin
        and event[2] == tenant
        and (not tokens or event[3] in tokens)
        and tags.items() <= event[4].items()
        and event[1] in kinds
    ]
    sent = [event for event in wanted if event[0] <= reached]
    assert data == b"".join(event[5] for event in sent)
    assert {event[3] for event in sent} <= set(touched)
    if reached < ring.last_seq:
        following = next(event for event in wanted if event[0] > reached)
        assert data and len(data) + len(following[5]) > most and following[0] == reached + 1
    assert len(data) <= most or len(sent) == 1


def test_what_it_cannot_take_changes_nothing() -> None:
    ring = EventRing(1024)
    five = framed(b"five")
    ring.append(5, b"\x01", five, "t", "a", {})
    for seq, kinds, frames in (
        (5, b"\x01", five),
        (6, b"", b""),
        (6, b"\x01\x01", five),
        (6, b"\x01", five + five),
        (6, b"\x40", five),
        (6, b"\x01", five[:-1]),
        (6, b"\x01", b"\n"),
        (6, b"\x01", b"\n\x80"),
        (6, b"\x01", b"\n" + b"\xff" * 9 + b"\x7f"),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            ring.append(seq, kinds, frames, "t", "a", {})
    with pytest.raises(TypeError):
        ring.append(6, b"\x01", (five,), "t", "a", {})  # type: ignore[arg-type]
    assert (len(ring), ring.first_seq, ring.last_seq) == (1, 5, 5)
    assert ring.join(1, 10, 2, "t", frozenset(), {}) == (five, 5, ("a",))
    ring.append(6, b"\x01", framed(b"x" * 1025), "t", "a", {})
    assert (len(ring), ring.first_seq, ring.last_seq) == (0, 7, 6), "too large: it and what was before are for the store"
    for capacity in (0, 1023, 2**30 + 1):
        with pytest.raises(ValueError, match="capacity"):
            EventRing(capacity)
