"""From the hub to the streams: the newest events natively in memory, one tick for all, bytes joined once for all in step.

A subscriber is a cursor. Those with the same filter share a feed, which is due when a block of its tokens or its tenant comes.
A tick wakes the streams of all feeds that are due, a few per turn of the loop, so that calls are served between them, and
none for a moment while a call that ends work is under way. The next tick comes at once when all was quiet, and under load late
enough that ticks take two thirds of the time at most: what waits is then sent in fewer, larger messages. Nothing here waits for a
stream, and nothing is kept for one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from metercore.ring import EventRing
from taskmeter import failpoints
from taskmeter.core.hub import Hub
from taskmeter.core.ports import Block
from taskmeter.rpc.backlog import Backlog
from taskmeter.rpc.convert.frame import frame, varint
from taskmeter.rpc.precedence import Precedence
from taskmeter.rpc.stream_request import Subscription, resume_token

RING_BYTES = 8 * 2**20

PIECE_BYTES = 32 * 1024
"""Size of a message, but for one event that is larger: what a subscriber that does not read holds of ours."""

MOST_PIECES = 64

TICK_SECONDS = 0.002
"""Ticks are at least this far apart, so that under load one message carries many events; an idle hub wakes at once."""

TICK_SPACING = 1.5
"""And so many times the processor time that the last one took."""

STREAMS_PER_TURN = 2
"""Woken before the loop looks after calls again; one waits for several turns before its handler begins (bench/pacing.py)."""

HOLD_SECONDS = 0.001
MOST_HOLDS = 5
"""In one tick: calls that end work slow the streams down, but never stop them."""

_SEQ, _RESUME_TOKEN = b"\x18", b"\x22"


class Piece(NamedTuple):
    """What lies between a cursor and `reached`, for one filter."""

    message: bytes
    """The matching events as a message, which says where to resume; more fields may follow."""
    event_bytes: int
    """How much of it is events."""
    reached: int
    tokens: tuple[str, ...]
    """Whose events were among it, of any kind."""


class Follower(Protocol):
    """A stream that waits."""

    def wake(self) -> None:
        """Go on."""

    def skip_to(self, seq: int) -> None:
        """Nothing up to `seq` is for it."""


class Feed:
    """All streams with one filter."""

    def __init__(self, fanout: Fanout, wanted: Subscription) -> None:
        self.wanted = wanted
        self.user_count = 0
        self.waiting: dict[Follower, None] = {}
        """In the order in which they came."""
        self.due_seq = 0
        """Where the first block begins that came for those that wait; 0 = none has."""
        self._fanout = fanout
        self._kinds = sum(1 << kind for kind in wanted.kinds)

    def take(self, sent_seq: int) -> Piece | None:
        """Return what follows `sent_seq`, or None if nothing does yet. Raises `OutOfRangeError` EVENTS_COMPACTED."""
        fanout = self._fanout
        head = fanout.hub.head_seq
        if sent_seq >= head:
            return None
        key = (self, sent_seq, head)
        piece = fanout.pieces.get(key)
        if piece is None:
            piece = self._join(sent_seq, head)
            if piece.event_bytes <= PIECE_BYTES:
                fanout.pieces[key] = piece
                if len(fanout.pieces) > MOST_PIECES:
                    del fanout.pieces[next(iter(fanout.pieces))]
        return piece

    def _join(self, sent_seq: int, head: int) -> Piece:
        fanout, wanted = self._fanout, self.wanted
        ring, end = fanout.ring, head
        if sent_seq + 1 < fanout.memory_from_seq or sent_seq + 1 < ring.first_seq:
            page = fanout.backlog.page(sent_seq + 1, wanted.only_token)
            ring, end = page.ring, page.to_seq
        failpoints.hit("events.after_read")
        data, reached, tokens = ring.join(sent_seq + 1, PIECE_BYTES, self._kinds, wanted.tenant, wanted.tokens, wanted.tags)
        if reached >= ring.last_seq:
            reached = end
        return Piece(data + fanout.position(reached), len(data), reached, tokens)

    def leave(self, follower: Follower, sent_seq: int) -> int:
        """Stop waiting; return up to where nothing is for this stream."""
        if follower not in self.waiting:
            return sent_seq  # a tick has it in its queue
        del self.waiting[follower]
        return max(sent_seq, self.due_seq - 1 if self.due_seq else self._fanout.hub.head_seq)


class Fanout:
    """The feeds, and the tick."""

    def __init__(self, hub: Hub, precedence: Precedence) -> None:
        self.hub = hub
        self._precedence = precedence
        self.ring = EventRing(RING_BYTES)
        self.memory_from_seq = hub.head_seq + 1
        """Nothing before this was ever in memory."""
        self.backlog = Backlog(hub)
        self.pieces: dict[tuple[Feed, int, int], Piece] = {}
        """The newest, by feed, cursor and head: those in step take the same one."""
        self._feeds: dict[object, Feed] = {}
        self._by_interest: dict[tuple[str, str], list[Feed]] = {}
        self._due: list[Feed] = []
        self._queue: deque[tuple[Follower, int]] = deque()
        self._tick_planned = False
        self._tick_begin = self._tick_cpu = 0.0
        self._next_tick = 0.0
        self._holds_left = 0
        hub.on_block = self.publish

    def position(self, seq: int) -> bytes:
        """Encode where a stream is."""
        return _SEQ + varint(seq) + frame(_RESUME_TOKEN, resume_token(self.hub.store.store_id, seq).encode())

    def enter(self, wanted: Subscription) -> Feed:
        """Return the feed of a new stream."""
        key = (wanted.tenant, wanted.tokens, wanted.kinds, tuple(sorted(wanted.tags.items())))
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self, wanted)
            for interest in _interests(wanted):
                self._by_interest.setdefault(interest, []).append(feed)
        feed.user_count += 1
        return feed

    def exit(self, feed: Feed) -> None:
        """A stream of this feed has ended."""
        feed.user_count -= 1
        if feed.user_count:
            return
        wanted = feed.wanted
        del self._feeds[wanted.tenant, wanted.tokens, wanted.kinds, tuple(sorted(wanted.tags.items()))]
        for interest in _interests(wanted):
            self._by_interest[interest].remove(feed)
            if not self._by_interest[interest]:
                del self._by_interest[interest]
        if not self._feeds:
            self.backlog.forget()
            self.pieces.clear()

    def publish(self, block: Block) -> None:
        """Take a committed block; those that wait for it are woken with the next tick."""
        self.ring.append(block.first_seq, block.kinds, block.frames, block.tenant, block.token, dict(block.tags))
        for interest in ((block.tenant, ""), (block.tenant, block.token)):
            for feed in self._by_interest.get(interest, ()):
                if feed.waiting and not feed.due_seq:
                    feed.due_seq = block.first_seq
                    self._due.append(feed)
        if self._due:
            self._plan()

    def _plan(self) -> None:
        if not self._tick_planned:
            self._tick_planned = True
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_tick:
                loop.call_soon(self._tick)
            else:
                loop.call_at(self._next_tick, self._tick)

    def _tick(self) -> None:
        self._tick_begin, self._tick_cpu = asyncio.get_running_loop().time(), time.thread_time()
        self._holds_left = MOST_HOLDS
        due, self._due = self._due, []
        for feed in due:
            self._queue.extend((follower, feed.due_seq - 1) for follower in feed.waiting)
            feed.waiting.clear()
            feed.due_seq = 0
        self._turn()

    def _turn(self) -> None:
        """Wake some; the loop serves calls before the next ones."""
        queue = self._queue
        loop = asyncio.get_running_loop()
        if self._holds_left and self._precedence.claimed:
            self._holds_left -= 1
            loop.call_later(HOLD_SECONDS, self._turn)
            return
        for _ in range(min(STREAMS_PER_TURN, len(queue))):
            follower, seq = queue.popleft()
            follower.skip_to(seq)
            follower.wake()
        if queue:
            loop.call_soon(self._turn)
        else:
            loop.call_soon(self._end_tick)

    def _end_tick(self) -> None:
        """The last ones have written."""
        # Counted in processor time: what others of this machine take from us is no reason to send later still.
        self._next_tick = self._tick_begin + max(TICK_SECONDS, TICK_SPACING * (time.thread_time() - self._tick_cpu))
        self._tick_planned = False
        if self._due:
            self._plan()


def _interests(wanted: Subscription) -> Iterator[tuple[str, str]]:
    if not wanted.tokens:
        yield wanted.tenant, ""
    for token in wanted.tokens:
        yield wanted.tenant, token
