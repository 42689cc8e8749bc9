"""What the work of tasks reports, as rows: written by the store's writer in the transaction of its events, and read back.

One set per task. Its number is the seq of its first event, so that one which is on its way out is never taken for another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from taskmeter.core.item_ports import ItemRow
from taskmeter.model.event import Event
from taskmeter.model.item import (
    Item,
    ItemChanged,
    ItemCounts,
    ItemHistory,
    ItemStats,
    ItemStatus,
    LogLine,
    Message,
    MessageLevel,
    Said,
    StepEvent,
)
from taskmeter.stores.failure import reads
from taskmeter.stores.frames import pick_frames

SEQ_BYTES = 6
MOST_HISTORY = 1000
"""Events of one item that are found again; as in the queries."""
KEPT = {MessageLevel.NOTE: 50, MessageLevel.WARNING: 50, MessageLevel.ERROR: 50, MessageLevel.LOG: 1000}
"""Newest messages kept per task, by level."""
MOST_STAGES = 1000
"""Stages that are counted apart in an answer."""
SHOWN_BYTES = 512
"""Of a message in a status."""
SCAN_COUNT = 5000
"""Items looked at for one page, so that no page keeps the loop for long."""
HISTORY_BLOCKS = 16
"""Blocks of events read for one page."""
HISTORY_BYTES = 1_000_000
"""Of events in one page, but for the last one of them."""
PURGE_COUNT = 5000
LAST_KEY = b"\xff"
"""After every key."""
SHOWN = (MessageLevel.WARNING, MessageLevel.ERROR)

_decode_map = msgspec.json.Decoder(dict[str, str]).decode


class Reported(Struct, frozen=True, gc=False):
    """Events of one task that its work has reported, with consecutive seqs from the first one's."""

    count: int
    items: Sequence[ItemRow]
    messages: Sequence[tuple[int, str, float]]


def reported_in(events: Sequence[Event]) -> Reported | None:
    """Return what came by another way than an item log; None if nothing did."""
    if not any(isinstance(event.payload, ItemChanged | StepEvent | Message) for event in events):
        return None
    last: dict[bytes, list[Any]] = {}
    messages = []
    for index, event in enumerate(events):
        payload = event.payload
        if isinstance(payload, Message):
            messages.append((int(payload.level), payload.text, event.time))
        elif isinstance(payload, ItemChanged | StepEvent):
            row = last.setdefault(payload.item_id, [payload.item_id, "", 0, 0, "", "", 0, "{}", 0.0, []])
            row[8] = event.time
            row[9].append(index)
            if isinstance(payload, ItemChanged):
                row[1:6] = payload.stage, int(payload.status), payload.attempt, payload.error, payload.worker
                row[6] = payload.size or row[6]
                row[7] = msgspec.json.encode(dict(payload.metadata)).decode() if payload.metadata else row[7]
    return Reported(len(events), [(*row[:9], tuple(row[9])) for row in last.values()], messages)


class ItemWriter:
    """Writes reports; on the writer thread, inside of its transaction."""

    def __init__(self, writing: apsw.Connection, queries: Mapping[str, str]) -> None:
        self._write = writing
        self._queries = queries

    def put(self, token: str, attempt: int, first_seq: int, reported: Reported) -> Said | None:
        """Write a report whose events begin with `first_seq`; return what the task's status shows if that has changed."""
        execute, queries = self._write.execute, self._queries
        row = execute(queries["item_set"], (token,)).fetchone()
        if row is None:
            execute(queries["new_item_set"], (first_seq, token))
            row = (first_seq,) + (0,) * 15
        set_id, counts = row[0], list(row[3:9])
        messages = list(row[9:13])
        if reported.items:
            self._put_items(set_id, first_seq, reported.items, counts)
        if reported.messages:
            self._put_messages(set_id, attempt, reported.messages, messages)
        said = row[13:16]
        warnings, errors = messages[1] - row[10], messages[2] - row[11]
        changed = attempt >= said[0] and bool(warnings or errors)
        if changed:
            said = (attempt, warnings, errors) if attempt > said[0] else (attempt, said[1] + warnings, said[2] + errors)
        last_seq = first_seq + reported.count - 1
        execute(queries["set_item_set"], (last_seq, row[2] + reported.count, *counts, *messages, *said, set_id))
        return read_said(self._write, self._queries, set_id, *said) if changed else None

    def _put_items(self, set_id: int, first_seq: int, items: Sequence[ItemRow], counts: list[int]) -> None:
        many, queries = self._write.executemany, self._queries
        found: Iterable[Any] = many(queries["states_of_items"], [(set_id, item[0]) for item in items])
        before = {key: (stage, status) for key, stage, status in found}
        rows, touched = [], []
        moved: Counter[tuple[str, int]] = Counter()
        for key, stage, status, attempt, error, worker, size, metadata, time, indexes in items:
            if len(indexes) == 1:
                history = (first_seq + indexes[0]).to_bytes(SEQ_BYTES, "big")
            else:
                history = b"".join([(first_seq + index).to_bytes(SEQ_BYTES, "big") for index in indexes[-MOST_HISTORY:]])
            old = before.get(key)
            if not status:  # only its steps have been reported
                if old is not None:
                    touched.append((time, len(indexes), history, set_id, key))
                    continue
                status = ItemStatus.IN_PROGRESS.value  # noqa: PLW2901
            rows.append((set_id, key, stage, status, attempt, error, worker, size, metadata or "{}", time, len(indexes), history))
            if old is None:
                moved[stage, status] += 1
                counts[status - 1] += 1
            elif old != (stage, status):
                moved[stage, status] += 1
                moved[old] -= 1
                counts[status - 1] += 1
                counts[old[1] - 1] -= 1
        many(queries["put_item"], rows)
        if touched:
            many(queries["touch_item"], touched)
        many(queries["add_item_stats"], [(set_id, *where, change) for where, change in moved.items() if change])
        if fewer := [(set_id, *where) for where, change in moved.items() if change < 0]:
            many(queries["drop_item_stats"], fewer)

    def _put_messages(self, set_id: int, attempt: int, messages: Sequence[tuple[int, str, float]], counts: list[int]) -> None:
        by_level: dict[int, list[tuple[str, float]]] = {}
        for level, text, time in messages:
            by_level.setdefault(level, []).append((text, time))
        for level, of_level in by_level.items():
            kept = KEPT[MessageLevel(level)]
            before = counts[level - 1]
            counts[level - 1] = after = before + len(of_level)
            newest = enumerate(of_level[-kept:], after - min(kept, len(of_level)) + 1)
            rows = [(set_id, level, number, attempt, time, text) for number, (text, time) in newest]
            self._write.executemany(self._queries["put_message"], rows)
            if after > kept:
                self._write.execute(self._queries["drop_messages"], (set_id, level, after - kept))

    def forget(self, token: str) -> None:
        """The task is being deleted: what it reported is found no more, and its rows go, the first ones at once."""
        self._write.execute(self._queries["forget_item_set"], (token,))
        if self._write.changes():
            self.purge()

    def purge(self) -> bool:
        """Remove some rows of a deleted set; tells whether there may be more of any."""
        execute, queries = self._write.execute, self._queries
        row = execute(queries["deleted_item_set"]).fetchone()
        if row is None:
            return False
        execute(queries["purge_items"], (row[0], PURGE_COUNT))
        if self._write.changes() <= PURGE_COUNT:
            for query in ("purge_item_stats", "purge_messages", "purge_item_set"):
                execute(queries[query], row)
        return True


def read_said(
    connection: apsw.Connection, queries: Mapping[str, str], set_id: int, attempt: int, warnings: int, errors: int
) -> Said:
    """Read what a status shows of a set, whose newest attempt had so many warnings and errors."""

    def newest(level: MessageLevel) -> tuple[str, ...]:
        rows = connection.execute(queries["newest_messages"], (set_id, int(level), attempt, KEPT[level])).fetchall()
        return tuple(_cut(text) for _, _, text in reversed(rows))

    return Said(newest(MessageLevel.ERROR) if errors else (), newest(MessageLevel.WARNING) if warnings else (), errors, warnings)


def _cut(text: str) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= SHOWN_BYTES else data[: SHOWN_BYTES - 3].decode(errors="ignore") + "…"


class SqliteItems:
    """Implements `core.ports.ItemStore`. `in_transaction` calls on the writer thread, which alone uses `writer`."""

    def __init__(
        self,
        reading: apsw.Connection,
        writing: apsw.Connection,
        queries: Mapping[str, str],
        in_transaction: Callable[[Callable[[], Any]], Awaitable[Any]],
        first_seq: Callable[[], int],
    ) -> None:
        self._read = reading
        self._write = writing
        self._queries = queries
        self._in_transaction = in_transaction
        self._first_seq = first_seq
        self.writer = ItemWriter(writing, queries)

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return self._read.execute(self._queries[query], values).fetchall()

    def _set(self, token: str) -> tuple[int, ...] | None:
        rows = self._rows("item_set", token)
        return rows[0] if rows else None

    @reads
    def get(self, token: str, key: bytes) -> Item | None:
        found = self._set(token)
        rows = self._rows("get_item", found[0], key) if found else []
        return _item(rows[0]) if rows else None

    @reads
    def select(
        self, token: str, statuses: Sequence[ItemStatus], stage: str, after: tuple[int, bytes], limit: int
    ) -> tuple[list[Item], tuple[int, bytes] | None]:
        found = self._set(token)
        if found is None:
            return [], None
        items: list[Item] = []
        for status in sorted(statuses) or [ItemStatus.UNSPECIFIED]:
            if status < after[0]:
                continue
            begin = after[1] if status == after[0] else b""
            part, reached = self._page(found[0], status, stage, begin, limit - len(items))
            items += part
            if reached is not None:
                return items, (int(status), reached)
            if len(items) >= limit:
                following = [each for each in statuses if each > status]
                return items, (int(min(following)), b"") if following else None
        return items, None

    def _page(self, set_id: int, status: ItemStatus, stage: str, after: bytes, limit: int) -> tuple[list[Item], bytes | None]:
        """Read items of one status; return the last key that was looked at, None if there is no other."""
        more: tuple[int, ...] = ()
        if status in (ItemStatus.UNSPECIFIED, ItemStatus.COMPLETED):
            bound = self._rows("key_further_on", set_id, after, SCAN_COUNT)
            query = "list_items_done" if status else "list_items"
        else:
            bound = self._rows("key_further_on_of_status", set_id, int(status), after, SCAN_COUNT)
            query, more = "list_items_of_status", (int(status),)
        until = bound[0][0] if bound else LAST_KEY
        rows = self._rows(query, set_id, after, until, stage, limit, *more)
        if len(rows) == limit:
            return [_item(row) for row in rows], rows[-1][0]
        return [_item(row) for row in rows], until if bound else None

    @reads
    def stats(self, token: str) -> ItemStats:
        found = self._set(token)
        if found is None:
            return ItemStats(ItemCounts(), (), 0)
        by_stage: dict[str, list[int]] = {}
        for stage, status, count in self._rows("stages_of_items", found[0], MOST_STAGES * (len(ItemStatus) - 1)):
            by_stage.setdefault(stage, [0] * 6)[status - 1] = count
        stages = [(stage, ItemCounts(*counts)) for stage, counts in by_stage.items()]
        return ItemStats(ItemCounts(*found[3:9]), tuple(stages[:MOST_STAGES]), found[2])

    @reads
    def history(self, token: str, key: bytes, from_seq: int, limit: int) -> ItemHistory | None:
        found = self._set(token)
        rows = self._rows("history_of_item", found[0], key) if found else []
        if not rows:
            return None
        event_count, history = rows[0]
        seqs = [int.from_bytes(history[at : at + SEQ_BYTES], "big") for at in range(0, len(history), SEQ_BYTES)]
        frames: list[bytes] = []
        wanted = [seq for seq in seqs if seq >= from_seq]
        reached = size_bytes = 0
        for _ in range(HISTORY_BLOCKS):
            if reached >= min(limit, len(wanted)) or size_bytes >= HISTORY_BYTES:
                break
            first, last, data = self._block(wanted[reached])
            inside = [seq for seq in wanted[reached:limit] if seq <= last]
            if not data:
                reached += max(1, len(inside))
                continue
            for frame in pick_frames(data, [seq - first for seq in inside]):
                if size_bytes < HISTORY_BYTES:
                    frames.append(frame)
                    size_bytes += len(frame)
                    reached += 1
        # Asked last, as in read_events: what was compacted meanwhile is then said to be gone.
        kept = sum(seq >= self._first_seq() for seq in seqs)
        return ItemHistory(tuple(frames), wanted[reached] if reached < len(wanted) else 0, event_count - kept)

    def _block(self, seq: int) -> tuple[int, int, bytes]:
        """Read the block that holds an event; without data if it was compacted."""
        rows = self._rows("block_of_seq", seq)
        if rows and rows[0][0] <= seq <= rows[0][1]:
            return rows[0]  # type: ignore[no-any-return]
        return seq, max(seq, self._first_seq() - 1), b""

    @reads
    def newest(self, token: str, level: MessageLevel, limit: int) -> list[LogLine]:
        found = self._set(token)
        rows = self._rows("newest_messages", found[0], int(level), 0, limit) if found else []
        return [LogLine(*row) for row in reversed(rows)]

    @reads
    def said(self, token: str, attempt: int) -> Said:
        found = self._set(token)
        if found is None or found[13] != attempt:
            return Said()
        return read_said(self._read, self._queries, found[0], *found[13:16])

    @reads
    def reported(self) -> dict[str, int]:
        return dict(self._rows("item_sets_of_live"))

    @reads
    def offsets(self, token: str, attempt: int) -> dict[str, int]:
        return dict(self._rows("offsets", token, attempt))

    @reads
    def attempts_with_offsets(self) -> list[tuple[str, int]]:
        return self._rows("attempts_with_offsets")

    async def forget_offsets(self, token: str, attempt: int) -> None:
        await self._in_transaction(lambda: self._write.execute(self._queries["drop_offsets"], (token, attempt)))

    @reads
    def _has_deleted(self) -> bool:
        return bool(self._rows("deleted_item_set"))

    async def purge(self) -> bool:
        return self._has_deleted() and bool(await self._in_transaction(self.writer.purge))


def _item(row: Any) -> Item:
    key, stage, status, attempt, error, worker, size, metadata, time, event_count = row
    known = _decode_map(metadata) if metadata != "{}" else {}
    return Item(key, stage, ItemStatus(status), attempt, error, worker, size, known, time, event_count)
