"""Read the item logs of attempts into the store: each event once, with how far its log was read, in one transaction.

A log is read off the loop, at once again while it is long, every 50 ms while something comes, and less and less often when
nothing does. One batch per log is under way at a time, and a round takes a bounded number of events in turn from the logs that
are due: however much one task writes, others are read, and commits of other kinds wait for a round at most.

When an attempt has ended, `finish` reads what it left before its end is stored. It takes a few seconds at most for that: the rest
of a longer log comes after the end, also when the daemon is restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from msgspec import Struct

from taskmeter import failpoints
from taskmeter.core.item_ports import Intake, ItemBatch, ItemLog, ItemSource
from taskmeter.core.ports import Change
from taskmeter.errors import NotFoundError, TaskmeterError, UnavailableError
from taskmeter.model.event import Event
from taskmeter.model.item import Message, MessageLevel

if TYPE_CHECKING:
    from taskmeter.core.service import Service
    from taskmeter.model.task import Task

BATCH_BYTES = 512 * 1024
"""Read of one log at once; of a task with long tags less, because each event has them."""
RECORD_BYTES = 128
"""About what one event takes in a log."""
ROUND_COUNT = 8192
"""Events after which a round reads no further log."""
MOST_LOGS = 1000
"""Logs that a round looks at."""
LONG_COUNT = 1000
"""A batch of so many events is probably not all there is."""
FIRST_SECONDS = 0.05
MOST_SECONDS = 1.0
"""Between two looks at a log."""
FIRST_LOOKS_PER_SECOND = 1000
"""Looks for a log where there is none, over all attempts; one costs 5 µs …"""
NONE_SECONDS = (0.2, 4.0)
"""… but each attempt is looked at neither more nor less often."""
GROWTH = 1.5
FINISH_SECONDS = 3.0
"""How long what an ended attempt left may hold up its end."""
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class _Log(Struct, eq=False):
    """The item log of one attempt. On the loop, but for what `_read` changes while it is `busy`."""

    token: str
    attempt: int
    source: ItemSource
    pause: float = FIRST_SECONDS
    offsets: dict[str, int] | None = None
    """What the store said when it was opened; None = nobody has found a log yet."""
    reader: ItemLog | None = None
    stored: bool = False
    """What was read last is on disk, and the reader has not been told."""
    gone: tuple[str, ...] = ()
    """Segments that were removed since the last batch."""
    busy: bool = False
    over: bool = False
    """All processes of its attempt are gone."""
    ended: bool = False
    """Its attempt has ended, and that is stored or about to be: when nothing is left, it is forgotten."""
    dropped: bool = False
    """Nobody wants it any more."""
    ticket: int = 0
    """Of its place among those that are due; others are void."""
    most_bytes: int = BATCH_BYTES
    complained: bool = False
    bad_count: int = 0
    dropped_count: int = 0


class Ingest:
    """All logs that are followed; lives on the loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._logs: dict[tuple[str, int], _Log] = {}
        self._due: list[tuple[float, int, _Log]] = []
        self._tickets = count(1)
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="ingest")
        self._woken: asyncio.Future[None] | None = None
        self._round: asyncio.Future[None] | None = None
        self._finished: set[tuple[str, int]] = set()
        """Attempts whose logs were read to their end, and whose own end is not stored yet."""
        self._closed = False

    # --------------------------------------------------------------------------------------------- what is followed

    def follow(self, task: Task) -> None:
        """Read the log of a task's attempt from now on; harmless when that is done already."""
        if task.spec.attach is None and (task.token, task.attempt) not in self._logs:
            self._plan(self._log(task.token, task.attempt), 0.0)

    def resume(self) -> None:
        """Go on with logs of attempts that had ended before all of it was read, of this daemon or the one before."""
        for token, attempt in self._service.store.items.attempts_with_offsets():
            entry = self._service.live.get(token)
            if (entry is None or entry.task.attempt != attempt) and (token, attempt) not in self._logs:
                left = self._log(token, attempt)
                left.over = left.ended = True
                self._plan(left, 0.0)

    def forget(self, tokens: frozenset[str]) -> None:
        """These tasks are deleted."""
        for key in [key for key in self._logs if key[0] in tokens]:
            self._drop(self._logs[key])

    def _log(self, token: str, attempt: int) -> _Log:
        found = self._logs[token, attempt] = _Log(token, attempt, self._service.executor.items_of(token, attempt))
        return found

    def _drop(self, one: _Log) -> None:
        one.dropped = True
        if self._logs.get((one.token, one.attempt)) is one:
            del self._logs[one.token, one.attempt]
        if not one.busy and one.reader is not None:
            one.reader.close()

    # ------------------------------------------------------------------------------------------------------ rounds

    def _plan(self, one: _Log, seconds: float) -> None:
        one.ticket = next(self._tickets)
        heappush(self._due, (asyncio.get_running_loop().time() + seconds, one.ticket, one))
        if self._due[0][2] is one and self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def keep(self) -> None:
        """Read what is due, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                logs = self._take_due(loop.time())
                if logs:
                    self._round = loop.create_future()
                    try:
                        await self._read_all(logs)
                    finally:
                        self._round.set_result(None)
                    continue
                self._woken = loop.create_future()
                await asyncio.wait([self._woken], timeout=self._due[0][0] - loop.time() if self._due else None)
        finally:
            self._closed = True  # what was under way may be committed yet: nothing of it may be read again before that

    def _take_due(self, now: float) -> list[_Log]:
        """Return logs that are to be read now. Of attempts that made none so far, most are looked at and put off here."""
        logs: list[_Log] = []
        for _ in range(min(MOST_LOGS, len(self._due))):
            if self._due[0][0] > now:
                break
            _, ticket, one = heappop(self._due)
            if one.ticket != ticket or one.busy or one.dropped:
                continue
            if one.offsets is None and not one.source.exists():
                shortest, longest = NONE_SECONDS
                one.pause = min(one.pause * GROWTH, max(shortest, min(longest, len(self._logs) / FIRST_LOOKS_PER_SECOND)))
                self._plan(one, one.pause)
                continue
            one.busy = True
            logs.append(one)
        return logs

    async def _read_all(self, logs: list[_Log]) -> None:
        seconds = [RETRY_SECONDS] * len(logs)
        try:
            for one in logs:
                self._prepare(one)
            found = await asyncio.get_running_loop().run_in_executor(self._pool, _read_some, logs)
            stores = []
            for index, (one, got) in enumerate(zip(logs, found, strict=False)):
                seconds[index] = self._seconds_until_next(one, got)
                if got is not None and not isinstance(got, Exception):
                    stores.append((index, self._store(one, got)))
            seconds[len(found) :] = [0.0] * (len(logs) - len(found))
            outcomes = await asyncio.gather(*(work for _, work in stores), return_exceptions=True)
            for (index, _), outcome in zip(stores, outcomes, strict=True):
                if outcome is not None:
                    seconds[index] = RETRY_SECONDS
                    self._complain(logs[index], outcome)
        except Exception:
            log.exception("reading item logs failed; trying again")
        finally:
            for one, wait in zip(logs, seconds, strict=True):
                one.busy = False
                if one.dropped:
                    self._drop(one)
                else:
                    self._plan(one, wait)

    def _prepare(self, one: _Log) -> None:
        if one.offsets is None:
            one.offsets = self._service.store.items.offsets(one.token, one.attempt)
        entry = self._service.live.get(one.token)
        tags = entry.task.tags if entry is not None else {}
        if tags:
            tag_bytes = sum(len(key) + len(value) for key, value in tags.items())
            one.most_bytes = BATCH_BYTES // (1 + tag_bytes // RECORD_BYTES)

    def _seconds_until_next(self, one: _Log, got: ItemBatch | Exception | None) -> float:
        if isinstance(got, Exception):
            self._complain(one, got)
            return RETRY_SECONDS
        if got is not None:
            one.pause = FIRST_SECONDS
            return 0.0 if got.count >= LONG_COUNT else FIRST_SECONDS
        if one.ended:
            self._drop(one)
            self._service.spawn(self._forget_offsets(one.token, one.attempt))
        one.pause = min(one.pause * GROWTH, MOST_SECONDS)
        return one.pause

    def _complain(self, one: _Log, what: BaseException) -> None:
        if not one.complained:
            why = what.reason if isinstance(what, TaskmeterError) else what
            log.warning("task %s: what it reported cannot be read or stored (%s); trying again", one.token, why)
        one.complained = True

    async def _store(self, one: _Log, batch: ItemBatch) -> None:
        """Commit a batch. Raises what a commit raises; the log is then read again from where it was."""
        service = self._service
        try:
            entry = service.live.get(one.token)
            task = entry.task if entry is not None else service.store.load(one.token)
            if task is None:
                raise NotFoundError("the task was deleted")
            await service.store.ingest(Intake(task, one.attempt, batch, one.gone))
        except NotFoundError:
            self._drop(one)
            return
        one.gone = ()
        one.stored, one.complained = True, False
        one.bad_count += batch.bad_count
        one.dropped_count += batch.dropped_count

    async def _forget_offsets(self, token: str, attempt: int) -> None:
        try:
            await self._service.store.items.forget_offsets(token, attempt)
        except TaskmeterError as error:  # the next daemon looks once more
            log.warning("task %s: the end of its item log could not be stored (%s)", token, error.reason)

    # ----------------------------------------------------------------------------------------------- ends of attempts

    async def finish(self, token: str, attempt: int) -> None:
        """Store what is left of an attempt whose processes are gone, for a few seconds at most; the rest comes later.

        The caller holds the entry's lock. Raises what a commit raises.
        """
        one = self._logs.get((token, attempt)) or self._log(token, attempt)
        while one.busy and self._round is not None:
            await asyncio.wait([self._round])
        if one.offsets is None and not one.source.exists():
            self._drop(one)
            await self._say_what_is_missing(one)
            return
        if self._closed:
            raise UnavailableError("the daemon stops", reason="DRAINING")
        one.busy = one.over = True  # no round takes it
        try:
            finished = await self._read_rest(one)
        finally:
            one.busy = False
        if not finished:
            log.warning("task %s: its item log could not be read in time, the rest comes after its end", token)
            one.ended = True
            self._plan(one, 0.0)
            return
        self._drop(one)
        self._finished.add((token, attempt))
        await self._say_what_is_missing(one)

    async def _read_rest(self, one: _Log) -> bool:
        """Tell whether all was read in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FINISH_SECONDS
        while loop.time() < deadline:
            self._prepare(one)
            [got] = await loop.run_in_executor(self._pool, _read_some, [one])
            if got is None:
                return True
            if isinstance(got, Exception):
                self._complain(one, got)
                await asyncio.sleep(FIRST_SECONDS)
            else:
                await self._store(one, got)
        return False

    async def _say_what_is_missing(self, one: _Log) -> None:
        """Have a warning of the task say so if its log has holes."""
        entry = self._service.live.get(one.token)
        dropped_count = max(one.dropped_count, one.source.dropped_count())
        if entry is None or not (dropped_count or one.bad_count):
            return
        found = []
        if dropped_count:
            found.append(f"{dropped_count} events of its items and messages had no room on the disk")
        if one.bad_count:
            found.append(f"its item log could not be read in {one.bad_count} places")
        task = entry.task
        message = Message(MessageLevel.WARNING, f"not all that it reported is here: {'; '.join(found)}")
        await self._service.store.commit([Change(task, (Event(task.token, time.time(), one.attempt, task.tags, message),))])

    def settled(self, token: str, attempt: int) -> None:
        """The end of an attempt is stored."""
        if (token, attempt) in self._finished:
            self._finished.discard((token, attempt))
            self._service.spawn(self._forget_offsets(token, attempt))

    def close(self) -> None:
        """Read no more; what was read and not stored is read again by the next daemon."""
        self._closed = True
        self._pool.shutdown(wait=True)
        for one in self._logs.values():
            if one.reader is not None:
                one.reader.close()


def _read_some(logs: list[_Log]) -> list[ItemBatch | Exception | None]:
    """Read logs in turn until there is enough for a round; off the loop."""
    found: list[ItemBatch | Exception | None] = []
    event_count = 0
    for one in logs:
        try:
            batch = _read(one)
        except Exception as error:  # noqa: BLE001  # of one log; whatever a task made of it
            found.append(error)
            continue
        found.append(batch)
        if batch is not None:
            event_count += batch.count
            if event_count >= ROUND_COUNT:
                break
    return found


def _read(one: _Log) -> ItemBatch | None:
    if one.offsets is None:
        return None
    if one.reader is None:
        one.reader = one.source.open(one.offsets)
    if one.stored:
        one.gone += tuple(one.reader.commit())
        one.stored = False
    batch = one.reader.read(one.most_bytes, one.over)
    if batch is not None:
        failpoints.hit("ingest.after_read")
    return batch
