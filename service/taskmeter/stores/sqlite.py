"""The embedded store: SQLite in WAL mode, one writer thread with group commit, short reads.

Laws: only the writer thread touches the writing connection. A commit is acknowledged after `synchronous=FULL` put it on disk.
The writer assigns `seq`; results reach the loop in the order of their seq. No statement stays open between calls, because an
open cursor keeps the WAL from being reset.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import apsw

from taskmeter import failpoints
from taskmeter.core.ports import Block, Change, Codec, Filter
from taskmeter.errors import LimitError, TaskmeterError, UnavailableError
from taskmeter.model.task import Task
from taskmeter.stores.frames import split_frames
from taskmeter.stores.migrate import migrate
from taskmeter.stores.queries import load_queries
from taskmeter.stores.rows import attempt_row, decode_task, encode_map, insert_row, update_row

MAX_BATCH = 512
"""Changes per transaction (measured: 106k events/s at batches of 20, 236k at 200; more only adds latency)."""

WAL_AUTOCHECKPOINT_PAGES = 4000

Committed = list[tuple[Task, Block | None]]
_Job = tuple[Sequence[Change], "asyncio.Future[Committed]"]

log = logging.getLogger(__name__)


class SqliteStore:
    """Implements `core.ports.Store` on one database file."""

    def __init__(self, path: Path, codec: Codec) -> None:
        """Open or create the database and start the writer thread. Raises `UnavailableError` if it cannot be used."""
        self._codec = codec
        self._queries = load_queries()
        try:
            self._writing = _open(path)
            migrate(self._writing)
            self._reading = _open(path)
        except apsw.Error as error:
            raise UnavailableError(
                f"cannot open the database {path}: {error}",
                reason="STORE_UNAVAILABLE",
                hint="is the disk full or read-only, or the file damaged?",
            ) from error
        self.store_id = str(self._meta("store_id"))
        self._head = int(self._meta("head_seq"))
        self._written_head = self._head  # the writer thread's own
        self._listener: Callable[[Committed], None] = lambda _: None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: str = ""
        self._thread = Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._thread.start()

    def set_listener(self, on_committed: Callable[[Committed], None]) -> None:
        """Have every committed batch passed to `on_committed` on the loop, in order of seq, before its commit() returns."""
        self._listener = on_committed

    @property
    def head_seq(self) -> int:
        return self._head

    @property
    def first_seq(self) -> int:
        return int(self._meta("first_seq"))

    # ------------------------------------------------------------------------------------------------ writing

    async def commit(self, changes: Sequence[Change]) -> Committed:
        if self._broken:
            raise UnavailableError(self._broken, reason="STORE_UNAVAILABLE")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed] = self._loop.create_future()
        self._jobs.put((changes, future))
        return await asyncio.shield(future)

    def _write_forever(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            last = False
            while len(batch) < MAX_BATCH and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    last = True
                    break
                batch.append(more)
            self._write(batch)
            if last:
                break

    def _write(self, batch: list[_Job]) -> None:
        assert self._loop is not None
        head = self._written_head
        results: list[Committed] = []
        execute = self._writing.execute
        submit = failpoints.armed and any(change.spec is not None for changes, _ in batch for change in changes)
        try:
            if submit:
                failpoints.hit("submit.before_tx")
            execute("BEGIN IMMEDIATE")
            results = [[self._put(change) for change in changes] for changes, _ in batch]
            if self._written_head != head:
                execute(self._queries["put_meta"], ("head_seq", self._written_head))
            if submit:
                failpoints.hit("submit.before_commit")
            execute("COMMIT")
            if submit:
                failpoints.hit_after("submit.before_commit")
                failpoints.hit("submit.after_commit")
        except apsw.ConstraintError as error:
            self._roll_back(head)
            if len(batch) == 1:
                self._loop.call_soon_threadsafe(_fail, batch, self._translate(error))
                return
            for job in batch:  # one bad change must not take the others with it
                self._write([job])
        except Exception as error:  # noqa: BLE001  # becomes the answer of every waiting commit
            if self._went_through(head):
                log.error("store: %s; but the transaction is on disk", error)
                self._loop.call_soon_threadsafe(self._deliver, batch, results, self._written_head)
                return
            self._roll_back(head)
            self._loop.call_soon_threadsafe(_fail, batch, self._translate(error))
        else:
            self._loop.call_soon_threadsafe(self._deliver, batch, results, self._written_head)

    def _went_through(self, head: int) -> bool:
        """Whether a transaction that began at `head` and ended in an error is committed all the same.

        To call it a failure would give its numbers to other events, and take away the directories of tasks that exist.
        """
        if self._writing.in_transaction or self._written_head == head:
            return False
        try:
            return int(self._writing.execute(self._queries["get_meta"], ("head_seq",)).get) == self._written_head
        except apsw.Error:
            return False

    def _roll_back(self, head: int) -> None:
        self._written_head = head
        if self._writing.in_transaction:  # a full disk has rolled back already (sqlite.org/lang_transaction.html)
            self._writing.execute("ROLLBACK")

    def _put(self, change: Change) -> tuple[Task, Block | None]:
        execute, queries = self._writing.execute, self._queries
        task = change.task
        block = None
        if change.events:
            first = self._written_head + 1
            last = self._written_head = self._written_head + len(change.events)
            task = task.evolve(seq=last)
            frames = tuple(self._codec.frame_event(event, seq) for seq, event in enumerate(change.events, first))
            kinds = bytes(event.payload.kind for event in change.events)
            tags = dict(change.events[-1].tags)
            block = Block(first, last, task.token, tags, kinds, frames, task.tenant)
            event_time = change.events[-1].time
            execute(
                queries["put_block"],
                (first, last, event_time, task.tenant, task.node, task.token, encode_map(tags), kinds, b"".join(frames)),
            )
        if change.delete:
            execute(queries["delete_task"], (task.token,))
            execute(queries["delete_attempts"], (task.token,))
            return task, block
        if change.spec is not None:
            execute(queries["put_task"], insert_row(task, change.spec))
        else:
            execute(queries["set_task"], update_row(task))
        if task.incarnation and change.attempt:
            execute(queries["put_attempt"], attempt_row(task))
        return task, block

    def _deliver(self, batch: list[_Job], results: list[Committed], head: int) -> None:
        self._head = head
        for (_, future), result in zip(batch, results, strict=True):
            self._listener(result)
            if not future.done():
                future.set_result(result)

    def _translate(self, error: Exception) -> TaskmeterError:
        if isinstance(error, apsw.FullError):
            return LimitError(
                "the disk that holds the state directory is full; nothing was changed",
                reason="DISK_FULL",
                hint="free some space, or delete ended tasks with `taskmeter rm`",
                retry_after_seconds=5.0,
            )
        log.error("store: %s", error, exc_info=error)
        if isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError | apsw.ReadOnlyError | apsw.CantOpenError):
            self._broken = "the store cannot be written any more; running tasks are not affected"
        return UnavailableError("the store could not be written; nothing was changed", reason="STORE_UNAVAILABLE")

    # ------------------------------------------------------------------------------------------------ reading

    def _meta(self, key: str) -> Any:
        return self._reading.execute(self._queries["get_meta"], (key,)).get

    def _task(self, query: str, values: tuple[Any, ...]) -> Task | None:
        row = self._reading.execute(self._queries[query], values).fetchone()
        return None if row is None else decode_task(row, self._codec.decode_spec)

    def load(self, token: str) -> Task | None:
        return self._task("get_task", (token,))

    def find_key(self, tenant: str, idempotency_key: str) -> Task | None:
        return self._task("task_of_key", (tenant, idempotency_key))

    def load_live(self) -> list[Task]:
        rows = self._reading.execute(self._queries["live_tasks"]).fetchall()
        return [decode_task(row, self._codec.decode_spec) for row in rows]

    def select(self, wanted: Filter, after: tuple[float, str] | None, limit: int) -> list[Task]:
        where, values = _where(wanted)
        if after is not None:
            where += " AND (t.create_time, t.token) < (?, ?)"
            values += list(after)
        statement = f"{self._queries['list_tasks']} {where} ORDER BY t.create_time DESC, t.token DESC LIMIT {int(limit)}"
        return [decode_task(row, self._codec.decode_spec) for row in self._reading.execute(statement, values).fetchall()]

    def count(self, wanted: Filter) -> int:
        where, values = _where(wanted)
        return int(self._reading.execute(f"{self._queries['count_tasks']} {where}", values).get)

    def read_events(self, from_seq: int, limit: int, token: str = "") -> Sequence[Block]:
        if token:
            values: tuple[Any, ...] = (token, from_seq, limit)
            rows: list[Any] = self._reading.execute(self._queries["read_blocks_of_task"], values).fetchall()
        else:
            # The block that holds from_seq may begin before it.
            begin = self._reading.execute(self._queries["block_holding"], (from_seq,)).get
            rows = self._reading.execute(self._queries["read_blocks"], (begin or from_seq, limit)).fetchall()
        blocks = (Block(r[0], r[1], r[2], json.loads(r[3]), r[4], split_frames(r[5]), r[6]) for r in rows)
        return [block for block in blocks if block.last_seq >= from_seq]

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reading.close()
        self._writing.close()


def _fail(batch: list[_Job], error: TaskmeterError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _open(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), statementcachesize=64)
    connection.set_busy_timeout(5000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", 2)  # FULL: NORMAL loses acknowledged rows at a power cut
    connection.pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
    connection.pragma("cache_size", -4096)  # KiB
    return connection


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    """Build the condition of `wanted`; only values are user input, never SQL text."""
    terms, values = ["t.tenant = ?"], [wanted.tenant]

    def add(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    if wanted.states:
        add(f"t.state IN ({','.join('?' * len(wanted.states))})", *(int(state) for state in wanted.states))
    if wanted.outcomes:
        add(f"t.outcome IN ({','.join('?' * len(wanted.outcomes))})", *(int(outcome) for outcome in wanted.outcomes))
    if wanted.project_id:
        add("t.project_id = ?", wanted.project_id)
    if wanted.source:
        add("t.source = ?", wanted.source)
    if wanted.queue:
        add("t.queue = ?", wanted.queue)
    if wanted.name_prefix:
        add("substr(t.name, 1, length(?)) = ?", wanted.name_prefix, wanted.name_prefix)
    if wanted.created_after_time:
        add("t.create_time > ?", wanted.created_after_time)
    if wanted.created_before_time:
        add("t.create_time < ?", wanted.created_before_time)
    for key, value in wanted.tags.items():
        add("EXISTS (SELECT 1 FROM json_each(t.tags) j WHERE j.key = ? AND j.value = ?)", key, value)
    return " AND ".join(terms), values
