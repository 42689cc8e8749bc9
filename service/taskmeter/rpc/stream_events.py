"""StreamEvents: a cursor over the event sequence, conflated statuses beside it, several of both in one message.

Promises: events come in order, once, without a gap; `seq` says up to where every matching event has been sent; a message is
made once per tick, not per event; a status is the newest one, and how many were skipped is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from taskmeter import failpoints
from taskmeter.core.hub import READ_LIMIT
from taskmeter.core.ports import Block, Filter
from taskmeter.core.service import Service
from taskmeter.errors import AbortedError
from taskmeter.model.event import EventKind
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.frame import STATUSES, frame, varint
from taskmeter.rpc.log_chunks import LogChunks
from taskmeter.rpc.methods import Context
from taskmeter.rpc.stream_request import Subscription, resume_token, subscription
from taskmeter.v1 import task_service_pb2 as pb

MAX_MESSAGE_BYTES = 1_900_000
"""Answers stay below 2 MB."""

SLOW_CONSUMER_SECONDS = 60.0
SNAPSHOT_PAGE_COUNT = 100
LOG_POLL_SECONDS = 0.1

_SEQ, _RESUME_TOKEN, _BOOKMARK, _CONFLATED = b"\x18", b"\x22", b"\x28\x01", b"\x30"


class EventStreams:
    """All open streams; ends them when the daemon goes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[_Stream] = set()

    async def stream_events(self, request: pb.StreamEventsRequest, caller: Caller, context: Context) -> None:
        stream = _Stream(self._service, subscription(self._service, request, caller.tenant), context)
        self._open.add(stream)
        try:
            await stream.run()
        finally:
            self._open.discard(stream)

    def close(self) -> None:
        """End every stream with OK; each has said where to resume."""
        for stream in self._open:
            stream.closing = True
        self._service.hub.wake()


class _Stream:
    """One subscriber: its cursor, and which status versions it has seen."""

    def __init__(self, service: Service, wanted: Subscription, context: Context) -> None:
        self._service = service
        self._wanted = wanted
        self._context = context
        self._sent_seq = wanted.from_seq - 1
        self._seen: dict[str, tuple[int, int]] = {}
        self._changed: set[str] = set()
        self._logs = LogChunks(service, wanted) if EventKind.LOG in wanted.kinds else None
        self.closing = False

    async def run(self) -> None:
        wanted = self._wanted
        now = time.monotonic()
        if wanted.snapshot_first:
            await self._send_snapshot()
        else:
            await self._send([], [], 0)  # where this stream starts, so that it can be resumed from its first moment
        next_status, next_bookmark = now, now + wanted.bookmark_seconds
        self._changed.update(wanted.tokens)
        while True:
            events, more = self._take_events()
            if self._logs is not None:
                events += self._logs.take()
            now = time.monotonic()
            done = not more and wanted.until_terminal and self._all_ended()
            statuses: list[bytes] = []
            conflated = 0
            if wanted.include_status and (now >= next_status or done):
                statuses, conflated = self._take_statuses()
                next_status = now + wanted.status_seconds
            if events or statuses or now >= next_bookmark:
                await self._send(events, statuses, conflated)
                next_bookmark = now + wanted.bookmark_seconds
            if self.closing or done:
                return
            if more:
                await asyncio.sleep(0)  # a long backlog leaves the loop to others between messages
                continue
            until = min(next_bookmark, next_status) if wanted.include_status else next_bookmark
            if self._logs is not None:
                until = min(until, now + LOG_POLL_SECONDS)
            if self._service.hub.head_seq <= self._sent_seq:
                await self._service.hub.wait(until - time.monotonic())

    def _take_events(self) -> tuple[list[bytes], bool]:
        """Move the cursor; return the matching frames, and whether there is more right now."""
        hub = self._service.hub
        head = hub.head_seq
        if head <= self._sent_seq:
            return [], False
        only = self._wanted.only_token
        blocks = hub.read(self._sent_seq + 1, only)
        failpoints.hit("events.after_read")
        frames: list[bytes] = []
        size_bytes = 0
        reached = self._sent_seq
        for block in blocks:
            if size_bytes > MAX_MESSAGE_BYTES // 2:
                self._sent_seq = reached
                return frames, True
            if self._wanted.wants_block(block):
                self._changed.add(block.token)
                for part in self._matching(block):
                    frames.append(part)
                    size_bytes += len(part)
            reached = block.last_seq
        if blocks and len(blocks) >= READ_LIMIT:
            self._sent_seq = reached
            return frames, True
        self._sent_seq = head
        return frames, False

    def _matching(self, block: Block) -> Iterable[bytes]:
        kinds = self._wanted.kinds
        for seq, kind, part in zip(range(block.first_seq, block.last_seq + 1), block.kinds, block.frames, strict=True):
            if seq > self._sent_seq and kind in kinds:
                yield part

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
            frames.append(frame(STATUSES, service.status_of_entry(entry)))
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
                if sum(map(len, frames)) > MAX_MESSAGE_BYTES // 2:
                    await self._write(b"".join(frames))
                    frames = []
                await asyncio.sleep(0)
        await self._send([], frames, 0)

    async def _send(self, events: list[bytes], statuses: list[bytes], conflated: int) -> None:
        """Write one message, or several if it would grow too large; `seq` stands in the last one."""
        parts: list[bytes] = []
        size_bytes = 0
        for part in (*events, *statuses):
            if parts and size_bytes + len(part) > MAX_MESSAGE_BYTES:
                await self._write(b"".join(parts))
                parts, size_bytes = [], 0
            parts.append(part)
            size_bytes += len(part)
        parts.append(_SEQ + varint(self._sent_seq))
        parts.append(frame(_RESUME_TOKEN, resume_token(self._service.store.store_id, self._sent_seq).encode()))
        if not events and not statuses:
            parts.append(_BOOKMARK)
        if conflated:
            parts.append(_CONFLATED + varint(conflated))
        await self._write(b"".join(parts))

    async def _write(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(SLOW_CONSUMER_SECONDS):
                await self._context.write(message)
        except TimeoutError:
            raise AbortedError(
                f"this subscriber did not read for {SLOW_CONSUMER_SECONDS:g} s; resume at seq {self._sent_seq}",
                metadata={"seq": str(self._sent_seq)},
            ) from None
