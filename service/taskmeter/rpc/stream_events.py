"""StreamEvents: a cursor over the event sequence, conflated statuses beside it, several of both in one message.

Promises: events come in order, once, without a gap; `seq` says up to where every matching event has been sent; a message is
made once per tick, not per event; a status is the newest one, and how many were skipped is said.
"""

from __future__ import annotations

import asyncio

from taskmeter.core.ports import Filter
from taskmeter.core.service import Service
from taskmeter.errors import AbortedError
from taskmeter.model.event import EventKind
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.frame import STATUSES, frame, varint
from taskmeter.rpc.fanout import PIECE_BYTES, Fanout, Feed, Piece
from taskmeter.rpc.log_chunks import LogChunks
from taskmeter.rpc.methods import Context
from taskmeter.rpc.precedence import Precedence
from taskmeter.rpc.ready_statuses import ReadyStatuses
from taskmeter.rpc.stream_request import Subscription, resume_token, subscription
from taskmeter.v1 import task_service_pb2 as pb

SLOW_CONSUMER_SECONDS = 60.0
SWEEP_SECONDS = 1.0
"""How often streams that do not read are looked for."""
SNAPSHOT_PAGE_COUNT = 100
LOG_POLL_SECONDS = 0.1

_BOOKMARK, _CONFLATED = b"\x28\x01", b"\x30"
_NO_PIECE = Piece(b"", 0, 0, ())


class EventStreams:
    """All open streams; ends them when the daemon goes, and those that nobody reads."""

    def __init__(self, service: Service, slow_consumer_seconds: float = SLOW_CONSUMER_SECONDS) -> None:
        """Keep a stream whose subscriber does not read for `slow_consumer_seconds`."""
        self._service = service
        self.slow_consumer_seconds = slow_consumer_seconds
        self.precedence = Precedence()
        """To be told of the calls for which all streams stand back."""
        self._fanout = Fanout(service.hub, self.precedence)
        self._statuses = ReadyStatuses(service)
        self._open: set[_Stream] = set()
        self._sweep_planned = False

    async def stream_events(self, request: pb.StreamEventsRequest, caller: Caller, context: Context) -> None:
        wanted = subscription(self._service, request, caller.tenant)
        feed = self._fanout.enter(wanted)
        stream = _Stream(self._service, self._fanout, feed, self._statuses, wanted, context)
        self._open.add(stream)
        if not self._sweep_planned:
            self._plan_sweep()
        try:
            await stream.run()
        except asyncio.CancelledError:
            if not stream.slow:
                raise
            raise self._too_slow(stream) from None
        finally:
            self._open.discard(stream)
            stream.end()
            self._fanout.exit(feed)

    def _too_slow(self, stream: _Stream) -> AbortedError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return AbortedError(
            f"this subscriber did not read for {self.slow_consumer_seconds:g} s; resume at seq {stream.written_seq + 1}",
            metadata={
                "seq": str(stream.written_seq),
                "resume_token": resume_token(self._service.store.store_id, stream.written_seq),
            },
        )

    def _plan_sweep(self) -> None:
        self._sweep_planned = True
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """End streams whose last message has been on its way for too long. One look at all costs less than a timer for each."""
        self._sweep_planned = False
        before = asyncio.get_running_loop().time() - self.slow_consumer_seconds
        for stream in self._open:
            if 0.0 < stream.write_begin < before:
                stream.give_up()
        if self._open:
            self._plan_sweep()

    def close(self) -> None:
        """End every stream with OK; each has said where to resume."""
        for stream in self._open:
            stream.closing = True
            stream.wake()


class _Stream:
    """One subscriber: its cursor, and which status versions it has seen."""

    __slots__ = (
        "_changed", "_context", "_fanout", "_feed", "_logs", "_loop", "_next_bookmark", "_next_status", "_seen", "_sent_seq",
        "_service", "_statuses", "_task", "_timer", "_waiter", "_wanted", "closing", "slow", "write_begin", "written_seq",
    )  # fmt: skip

    def __init__(
        self, service: Service, fanout: Fanout, feed: Feed, statuses: ReadyStatuses, wanted: Subscription, context: Context
    ) -> None:
        self._service = service
        self._fanout = fanout
        self._feed = feed
        self._statuses = statuses
        self._wanted = wanted
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._sent_seq = self.written_seq = wanted.from_seq - 1
        self._seen: dict[str, tuple[int, int]] = {}
        self._changed: set[str] = set()
        self._logs = LogChunks(service, wanted) if EventKind.LOG in wanted.kinds else None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_status = self._next_bookmark = 0.0
        self.write_begin = 0.0
        """When the message that is being written was begun, by the loop's clock; 0 = none is."""
        self.slow = False
        self.closing = False

    async def run(self) -> None:
        wanted, loop = self._wanted, self._loop
        if wanted.snapshot_first:
            await self._send_snapshot()
        else:
            await self._write(self._here() + _BOOKMARK)  # where this stream starts: it can be resumed from its first moment
        now = loop.time()
        self._next_status, self._next_bookmark = now, now + wanted.bookmark_seconds
        self._changed.update(wanted.tokens)
        while True:
            more = await self._send_what_is_due()
            if more is None:
                return
            if more:
                await asyncio.sleep(0)  # a long backlog leaves the loop to others between messages
            elif self._fanout.hub.head_seq <= self._sent_seq and not self.closing:
                await self._wait()

    async def _send_what_is_due(self) -> bool | None:
        """Write one message if there is something for it; tell whether there is more right now, None if the stream is over."""
        wanted = self._wanted
        closing = self.closing  # asked first: what was committed before is sent
        piece, more = self._take_events()
        logs = self._logs.take() if self._logs is not None else []
        now = self._loop.time()
        done = not more and wanted.until_terminal and self._all_ended()
        statuses: list[bytes] = []
        conflated = 0
        if wanted.include_status and (now >= self._next_status or done):
            statuses, conflated = self._take_statuses()
            self._next_status = now + wanted.status_seconds
        if piece.event_bytes and not logs and not statuses:
            await self._write(piece.message)
        elif piece.event_bytes or logs or statuses or now >= self._next_bookmark:
            await self._send(piece, logs, statuses, conflated)
        else:
            return None if closing or done else more
        self._next_bookmark = now + wanted.bookmark_seconds
        return None if closing or done else more

    def _take_events(self) -> tuple[Piece, bool]:
        """Move the cursor; return what to send, and whether there is more right now."""
        piece = self._feed.take(self._sent_seq)
        if piece is None:
            return _NO_PIECE, False
        self._sent_seq = piece.reached
        if self._wanted.include_status:
            self._changed.update(piece.tokens)
        return piece, piece.reached < self._fanout.hub.head_seq

    # ------------------------------------------------------------------------------------------------------ waiting

    async def _wait(self) -> None:
        """Return when there may be something to send. The caller has seen that nothing follows the cursor right now."""
        wanted = self._wanted
        until = self._next_bookmark
        if wanted.include_status:
            until = min(until, self._next_status)
        if self._logs is not None:
            until = min(until, self._loop.time() + LOG_POLL_SECONDS)
        if self._timer is None or self._timer.when() > until:
            self._set_timer(until)
        self._waiter = self._loop.create_future()
        self._feed.waiting[self] = None
        await self._waiter
        self._sent_seq = self._feed.leave(self, self._sent_seq)

    def _set_timer(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(until, self._on_time)

    def _on_time(self) -> None:
        """One timer for all of its waits: when it comes too early, because something was sent since, it is set anew."""
        self._timer = None
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def skip_to(self, seq: int) -> None:
        self._sent_seq = max(self._sent_seq, seq)

    def give_up(self) -> None:
        """End it with ABORTED."""
        if self._task is not None and not self.slow:
            self.slow = True
            self._task.cancel()

    def end(self) -> None:
        """Leave nothing behind."""
        self._feed.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    # ------------------------------------------------------------------------------------------------------ statuses

    def _take_statuses(self) -> tuple[list[bytes], int]:
        """Return the statuses that changed since this stream saw them, and how many versions of them were skipped."""
        service, seen = self._service, self._seen
        frames: list[bytes] = []
        conflated = 0
        for token in list(self._changed):
            entry = service.live.get(token)
            if entry is None:
                self._changed.discard(token)
                seen.pop(token, None)
                task = service.store.load(token)
                if task is not None:
                    frames.append(frame(STATUSES, service.status_of_task(task)))
        candidates = self._wanted.tokens or service.live.keys()
        for token in candidates:
            entry = service.live.get(token)
            if entry is None or not self._wanted.wants_task(entry.task):
                continue
            version = (entry.task.seq, service.meter.version(token))
            before = seen.get(token)
            if version == before:
                continue
            if before is not None:
                conflated += max(0, version[1] - before[1] - 1)
            seen[token] = version
            frames.append(self._statuses.frame_of(entry, version))
        return frames, conflated

    def _all_ended(self) -> bool:
        service = self._service
        for token in self._wanted.tokens:
            if token in service.live:
                return False
            task = service.store.load(token)
            if task is not None and task.seq > self._sent_seq:
                return False
        return self._logs is None or self._logs.drained

    async def _send_snapshot(self) -> None:
        """Send the status of every matching task; only the last message names the seq to resume from."""
        service, wanted = self._service, self._wanted
        frames: list[bytes] = []
        if wanted.tokens:
            for token in sorted(wanted.tokens):
                task = service.find(token, wanted.tenant)
                if wanted.wants_task(task):
                    frames.append(frame(STATUSES, service.status_of_task(task)))
        else:
            after = None
            while True:
                page = service.store.select(Filter(wanted.tenant, tags=wanted.tags), after, SNAPSHOT_PAGE_COUNT)
                frames += [frame(STATUSES, service.status_of_task(task)) for task in page]
                if len(page) < SNAPSHOT_PAGE_COUNT:
                    break
                after = (page[-1].create_time, page[-1].token)
                if sum(map(len, frames)) > PIECE_BYTES:
                    await self._write(b"".join(frames))
                    frames = []
                await asyncio.sleep(0)
        await self._send(_NO_PIECE, [], frames, 0)

    # ------------------------------------------------------------------------------------------------------- writing

    def _here(self) -> bytes:
        return self._fanout.position(self._sent_seq)

    async def _send(self, piece: Piece, logs: list[bytes], statuses: list[bytes], conflated: int) -> None:
        """Write one message, or several if it would grow too large; `seq` stands in the last one."""
        tail = piece.message if piece.event_bytes else self._here()
        if not piece.event_bytes and not logs and not statuses:
            tail += _BOOKMARK
        if conflated:
            tail += _CONFLATED + varint(conflated)
        parts: list[bytes] = []
        size_bytes = 0
        for part in (*logs, *statuses):
            if parts and size_bytes + len(part) > PIECE_BYTES:
                await self._write(b"".join(parts), last=False)
                parts, size_bytes = [], 0
            parts.append(part)
            size_bytes += len(part)
        await self._write(b"".join((*parts, tail)))

    async def _write(self, message: bytes, *, last: bool = True) -> None:
        self.write_begin = self._loop.time()
        await self._context.write(message)
        self.write_begin = 0.0
        if last:
            self.written_seq = self._sent_seq
