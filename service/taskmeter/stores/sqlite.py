"""The embedded store: SQLite in WAL mode, one writer thread with group commit, short reads.

Laws: only the writer thread touches the writing connection. A commit is acknowledged after `synchronous=FULL` put it on disk.
The writer assigns `seq`; results reach the loop in the order of their seq. No statement stays open between calls, because an
open cursor keeps the WAL from being reset.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import apsw

from taskmeter import failpoints
from taskmeter.core.item_ports import Intake
from taskmeter.core.ports import Block, Change, Codec, Filter, Ingested
from taskmeter.errors import LimitError, OutOfRangeError, TaskmeterError, UnavailableError
from taskmeter.model.queue import Queue
from taskmeter.model.task import Task
from taskmeter.stores.ballast import Ballast
from taskmeter.stores.damage import DAMAGE, Damage, DamagedStoreError, looks_cut
from taskmeter.stores.decided import decided, fail, finish
from taskmeter.stores.failure import Failure, describe, kind_of, reads
from taskmeter.stores.items import Reported, SqliteItems, reported_in
from taskmeter.stores.migrate import migrate
from taskmeter.stores.queries import load_queries
from taskmeter.stores.record import TaskRecords
from taskmeter.stores.rows import UnreadableError, attempt_row, decode_task, encode_map, insert_row, update_row
from taskmeter.stores.schedules import SqliteSchedules
from taskmeter.stores.stale import StaleChangeError, found_in, refused
from taskmeter.stores.upkeep import SqliteUpkeep
from taskmeter.stores.where import where_of

MAX_BATCH = 512
"""Changes per transaction (measured: 106k events/s at batches of 20, 236k at 200; more only adds latency)."""

MOST_INGESTED = 8192
"""Events of item logs after which a transaction takes no further batch: whoever starts or stops a task waits for it."""

WAL_AUTOCHECKPOINT_PAGES = 4000
FULL_AUTOCHECKPOINT_PAGES = 64
"""While the ballast is released, the log must not eat up the room it gave."""

BALLAST_RETRY_SECONDS = 1.0

ONE_TO_BLAME = (apsw.ConstraintError, ArithmeticError, LookupError, TypeError, ValueError)
"""Errors that are of what was to be written, not of the database."""

Committed = list[tuple[Task, Block | None]]


class _Job(NamedTuple):
    """A commit that is waited for."""

    changes: Sequence[Change]
    future: asyncio.Future[Committed]

    @property
    def starts(self) -> bool:
        """It accepts a new task: what a full disk refuses even while other commits still find room."""
        return any(change.spec is not None for change in self.changes)


class _Batch(NamedTuple):
    """A batch of an item log to be committed."""

    intake: Intake
    future: asyncio.Future[Ingested]

    @property
    def starts(self) -> bool:
        return False


class _Work(NamedTuple):
    """A transaction of the store's own, apart from the commits."""

    run: Callable[[], Any]
    future: asyncio.Future[Any]


log = logging.getLogger(__name__)


class SqliteStore:
    """Implements `core.ports.Store` on one database file."""

    def __init__(self, path: Path, codec: Codec, ballast_bytes: int = 0, *, secure_delete: bool = False) -> None:
        """Open or create the database and start the writer thread.

        Args:
            path: of the database file.
            codec: to read and write what the contract defines.
            ballast_bytes: size of a file beside it that is given up when the disk is full.
            secure_delete: overwrite what is deleted.

        Raises `DamagedStoreError` if it is not what was written, `UnavailableError` if it cannot be used for another reason.
        """
        self._ballast = Ballast(path.parent / "ballast", ballast_bytes)
        self._codec = codec
        self._queries = load_queries()
        self._path = path
        self._secure_delete = secure_delete
        self._records = TaskRecords(self._queries, codec.decode_spec)
        self._on_damage: Callable[[Damage], None] = lambda _: None
        self._live: list[Task] | None = None
        self._connections: list[apsw.Connection] = []
        try:
            self._open_checked()
        except BaseException:
            for connection in self._connections:
                connection.close()
            raise
        self._written_head = self._head  # the writer thread's own
        self._listener: Callable[[Committed], None] = lambda _: None
        self._ingest_listener: Callable[[Ingested], None] = lambda _: None
        self._jobs: SimpleQueue[_Job | _Batch | _Work | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: str = ""
        self.upkeep = SqliteUpkeep(self._reading, self._writing, self._queries, self._in_transaction)
        self.items = SqliteItems(self._reading, self._writing, self._queries, self._in_transaction, lambda: self.first_seq)
        self.schedules = SqliteSchedules(self._reading, self._writing, self._queries, codec, self._in_transaction)
        self._thread = Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._thread.start()

    def _open_checked(self) -> None:
        """Open both connections and read what a start needs: what is damaged there is noticed before anybody relies on it."""
        if looks_cut(self._path):
            raise DamagedStoreError(f"the database {self._path} is shorter than it was")
        try:
            self._writing = _open(self._path)
            self._connections.append(self._writing)
            self._writing.pragma("secure_delete", self._secure_delete)
            migrate(self._writing)
            self._reading = _open(self._path)
            self._connections.append(self._reading)
            for suffix in ("", "-wal", "-shm"):  # it has what tasks were given; others may be let through its directory
                with suppress(OSError):
                    os.chmod(f"{self._path}{suffix}", 0o600)
            self.store_id = str(self._meta("store_id"))
            self._head = int(self._meta("head_seq"))
            self._live = self._read_live()
        except (*DAMAGE, apsw.SQLError) as error:  # a table that is missing is a damage, too
            raise DamagedStoreError(f"the database {self._path} is damaged: {error}") from error
        except apsw.Error as error:
            raise UnavailableError(
                f"cannot open the database {self._path}: {error}",
                reason="STORE_UNAVAILABLE",
                hint="is the disk full or read-only?",
            ) from error
        except (ValueError, TypeError) as error:  # a row, or a number, that cannot be decoded
            raise DamagedStoreError(f"the database {self._path} holds what was never written: {error}") from error

    def set_on_damage(self, on_damage: Callable[[Damage], None]) -> None:
        """Have `on_damage(what)` called once on the loop when the database turns out to be damaged; commits fail from then on."""
        self._on_damage = on_damage

    def set_listener(
        self, on_committed: Callable[[Committed], None], on_ingested: Callable[[Ingested], None] = lambda _: None
    ) -> None:
        """Have what is committed passed to `on_committed`, and what is ingested to `on_ingested`, before their calls return.

        Both on the loop, and together in order of seq.
        """
        self._listener = on_committed
        self._ingest_listener = on_ingested

    @property
    def disk_full(self) -> bool:
        return self._ballast.released

    @property
    def failure(self) -> str:
        return self._broken

    @property
    def head_seq(self) -> int:
        return self._head

    @property
    @reads
    def first_seq(self) -> int:
        return int(self._meta("first_seq"))

    # ------------------------------------------------------------------------------------------------ writing

    async def commit(self, changes: Sequence[Change]) -> Committed:
        future: asyncio.Future[Committed] = self._usable_loop().create_future()
        self._jobs.put(_Job(changes, future))
        return await decided(future)

    async def ingest(self, intake: Intake) -> Ingested:
        future: asyncio.Future[Ingested] = self._usable_loop().create_future()
        self._jobs.put(_Batch(intake, future))
        return await decided(future)

    async def put_queue(self, queue: Queue) -> None:
        values = (queue.tenant, queue.name, queue.max_running, queue.max_waiting, int(queue.paused), queue.create_time)
        await self._in_transaction(lambda: self._writing.execute(self._queries["put_queue"], values))

    async def delete_queue(self, tenant: str, name: str) -> None:
        await self._in_transaction(lambda: self._writing.execute(self._queries["delete_queue"], (tenant, name)))

    async def _in_transaction(self, run: Callable[[], Any]) -> Any:
        """Call `run` on the writer thread, in a transaction of its own. Raises what `commit` raises."""
        future: asyncio.Future[Any] = self._usable_loop().create_future()
        self._jobs.put(_Work(run, future))
        return await decided(future)

    def _usable_loop(self) -> asyncio.AbstractEventLoop:
        if self._broken:
            raise UnavailableError(self._broken, reason="STORE_UNAVAILABLE")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._live = None
        return self._loop

    def _write_forever(self) -> None:
        last = False
        while not last:
            try:
                job = self._jobs.get(timeout=BALLAST_RETRY_SECONDS if self._ballast.released else None)
            except Empty:
                self._find_room()
                continue
            batch: list[_Job | _Batch] = []
            ingested = 0
            while isinstance(job, _Job | _Batch):
                batch.append(job)
                ingested += job.intake.batch.count if isinstance(job, _Batch) else 0
                if len(batch) == MAX_BATCH or ingested >= MOST_INGESTED or self._jobs.empty():
                    break
                job = self._jobs.get()
            if batch:
                self._write(batch)
            if isinstance(job, _Work):
                self._work(job)
            last = job is None

    def _work(self, work: _Work) -> None:
        assert self._loop is not None
        head = self._written_head
        result: Any = None
        try:
            if self._broken:
                raise UnavailableError(self._broken, reason="STORE_UNAVAILABLE")
            self._writing.execute("BEGIN IMMEDIATE")
            result = work.run()
            self._writing.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # becomes the answer
            system_errno = self._writing.system_errno
            if self._went_through(head):
                log.error("store: %s; but the transaction is on disk", describe(error))
                self._loop.call_soon_threadsafe(finish, work.future, result)
                return
            failure = self._failed(head, error, system_errno)
            self._loop.call_soon_threadsafe(fail, [work.future], failure)
        else:
            self._loop.call_soon_threadsafe(finish, work.future, result)

    def _find_room(self) -> bool:
        """Take the ballast again if the disk has room; tells whether new tasks may be accepted."""
        if self._ballast.released and self._ballast.restore():
            self._writing.wal_autocheckpoint(WAL_AUTOCHECKPOINT_PAGES)
        return not self._ballast.released

    def _make_room(self) -> bool:
        """On a full disk: release the ballast, and reuse the log's room. Tells whether it is worth to try again."""
        released = self._ballast.release()
        try:
            self._writing.wal_autocheckpoint(FULL_AUTOCHECKPOINT_PAGES)
            self._writing.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error:
            return released
        return True

    def _write(self, batch: list[_Job | _Batch], *, second: bool = False) -> None:
        assert self._loop is not None
        if self._broken:
            self._loop.call_soon_threadsafe(
                fail, [job.future for job in batch], UnavailableError(self._broken, reason="STORE_UNAVAILABLE")
            )
            return
        if self._ballast.released and any(job.starts for job in batch) and not self._find_room():
            self._loop.call_soon_threadsafe(fail, [job.future for job in batch if job.starts], _disk_full())
            batch = [job for job in batch if not job.starts]
            if not batch:
                return
        head = self._written_head
        results: list[Committed | Ingested] = []
        execute = self._writing.execute
        submit = failpoints.armed and any(job.starts for job in batch)
        try:
            if submit:
                failpoints.hit("submit.before_tx")
            execute("BEGIN IMMEDIATE")
            results = [
                self._ingest(job.intake) if isinstance(job, _Batch) else [self._put(change) for change in job.changes]
                for job in batch
            ]
            if self._written_head != head:
                execute(self._queries["put_meta"], ("head_seq", self._written_head))
            if submit:
                failpoints.hit("submit.before_commit")
            execute("COMMIT")
            if submit:
                failpoints.hit_after("submit.before_commit")
                failpoints.hit("submit.after_commit")
        except ONE_TO_BLAME as error:
            self._roll_back(head)
            if len(batch) == 1:
                failure = self._stale(error.change) if isinstance(error, StaleChangeError) else self._translate(error)
                self._loop.call_soon_threadsafe(fail, [job.future for job in batch], failure)
                return
            for job in batch:  # one bad change must not take the others with it
                self._write([job])
        except Exception as error:  # noqa: BLE001  # becomes the answer of every waiting commit
            system_errno = self._writing.system_errno
            if self._went_through(head):
                log.error("store: %s; but the transaction is on disk", describe(error))
                self._loop.call_soon_threadsafe(self._deliver, batch, results, self._written_head)
                return
            failure = self._failed(head, error, system_errno)
            if isinstance(failure, LimitError) and not second and self._make_room():
                self._write(batch, second=True)
            else:
                self._loop.call_soon_threadsafe(fail, [job.future for job in batch], failure)
        else:
            self._loop.call_soon_threadsafe(self._deliver, batch, results, self._written_head)

    def _stale(self, change: Change) -> TaskmeterError:
        """Have memory take over what a task is that was changed as what it is not; return what to answer."""
        assert self._loop is not None
        try:
            rows = self._writing.execute(self._queries["get_task"], (change.task.token,)).fetchall()
            stored = decode_task(rows[0], self._codec.decode_spec) if rows else None
        except Exception as error:  # noqa: BLE001  # becomes the answer
            return self._translate(error, self._writing.system_errno)
        if stored is not None:
            result: Committed = [(stored, None)]
            self._loop.call_soon_threadsafe(self._listener, result)
        return refused(change, stored)

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
            frames = b"".join([self._codec.frame_event(event, seq) for seq, event in enumerate(change.events, first)])
            kinds = bytes(event.payload.kind for event in change.events)
            tags = change.events[-1].tags
            block = Block(first, last, task.token, tags, kinds, frames, task.tenant)
            event_time = change.events[-1].time
            execute(
                queries["put_block"],
                (first, last, event_time, task.tenant, task.node, task.token, encode_map(tags), kinds, frames),
            )
        if change.delete:
            execute(queries["delete_task"], (task.token,))
            for query in ("delete_attempts", "delete_size", "delete_log_starts", "drop_offsets_of_task"):
                execute(queries[query], (task.token,))
            self.items.writer.forget(task.token)
            return task, block
        if change.events and (reported := reported_in(change.events)) is not None:
            said = self.items.writer.put(task.token, change.events[-1].attempt, task.seq - len(change.events) + 1, reported)
            task = task.evolve(said=said) if said is not None else task
        if change.new_spec is not None:
            execute(queries["set_spec"], (change.new_spec, task.token))
            return task, block
        if change.spec is not None:
            execute(queries["put_task"], insert_row(task, change.spec))
        else:
            execute(queries["set_task"], (*update_row(task), *found_in(change)))
            if not self._writing.changes():
                raise StaleChangeError(change)
        if change.ended is not None and change.ended.incarnation:
            execute(queries["put_attempt"], attempt_row(change.ended))
        if task.incarnation and change.attempt:
            execute(queries["put_attempt"], attempt_row(task))
        return task, block

    def _ingest(self, intake: Intake) -> Ingested:
        """Write a batch of an item log; nothing of it for a task that is not there any more."""
        execute, queries = self._writing.execute, self._queries
        task, batch, attempt = intake.task, intake.batch, intake.attempt
        first = self._written_head + 1
        last = self._written_head + batch.count
        execute(queries["touch_task"], (last if batch.count else 0, task.token))
        if not self._writing.changes():
            return Ingested(task.token, attempt, None, None)
        offsets = [(task.token, attempt, segment, offset) for segment, offset in batch.offsets.items()]
        self._writing.executemany(queries["put_offset"], offsets)
        if intake.gone:
            self._writing.executemany(queries["drop_offset"], [(task.token, attempt, segment) for segment in intake.gone])
        if not batch.count:
            return Ingested(task.token, attempt, None, None)
        self._written_head = last
        frames = batch.frames(first, task.token, attempt, task.tags)
        block = Block(first, last, task.token, task.tags, batch.kinds, frames, task.tenant)
        names = (task.tenant, task.node, task.token, encode_map(task.tags))
        execute(queries["put_block"], (first, last, batch.last_time, *names, batch.kinds, frames))
        said = self.items.writer.put(task.token, attempt, first, Reported(batch.count, batch.items(), batch.messages()))
        failpoints.hit("ingest.before_commit")
        return Ingested(task.token, attempt, block, said)

    def _deliver(self, batch: list[_Job | _Batch], results: list[Committed | Ingested], head: int) -> None:
        self._head = head
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Ingested):
                self._ingest_listener(result)
            else:
                self._listener(result)
            finish(future, result)

    def _failed(self, head: int, error: Exception, system_errno: int = 0) -> TaskmeterError:
        """Undo the transaction that `error` ended, and return what to answer."""
        translated = self._translate(error, system_errno)
        try:
            self._roll_back(head)
        except apsw.Error as again:
            self._stop(again)
        return translated

    def _translate(self, error: Exception, system_errno: int = 0) -> TaskmeterError:
        if isinstance(error, TaskmeterError):
            return error
        kind = kind_of(error, system_errno)
        if kind is Failure.FULL:
            return _disk_full()
        if kind is Failure.TEMPORARY:
            log.error("the store could not be written: %s", describe(error))
        else:
            self._stop(error)
            if kind is Failure.DAMAGED:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._damaged, Damage(describe(error), may_be_misread=True))
        return UnavailableError(
            self._broken or "the store could not be written", reason="STORE_UNAVAILABLE", retry_after_seconds=1.0
        )

    def _stop(self, error: Exception) -> None:
        """Write nothing more: what is on disk cannot be known any more. What was acknowledged was there before."""
        log.critical("the store is stopped until the daemon is restarted: %s", describe(error))
        self._broken = "the store cannot be written any more; running tasks are not affected"

    # ------------------------------------------------------------------------------------------------ reading

    def _damaged(self, what: Damage) -> None:
        on_damage, self._on_damage = self._on_damage, lambda _: None
        self._broken = "the store is damaged and about to be built anew; running tasks are not affected"
        on_damage(what)

    def _rows(
        self, statement: str, values: tuple[Any, ...] | list[Any] = (), take: Callable[[apsw.Cursor], list[Any]] | None = None
    ) -> list[Any]:
        """Read all rows of a statement, or those that `take` takes; the cursor is closed when it returns."""
        try:
            with closing(self._reading.execute(statement, values)) as cursor:
                return take(cursor) if take is not None else cursor.fetchall()
        except DAMAGE as error:
            self._damaged(Damage(describe(error), may_be_misread=True))
            raise DamagedStoreError("the database is damaged", hint="try again in a moment: it is built anew") from error

    def _meta(self, key: str) -> Any:
        return self._reading.execute(self._queries["get_meta"], (key,)).get

    def _tasks(self, statement: str, values: tuple[Any, ...] | list[Any] = ()) -> list[Task]:
        rows = self._rows(statement, values)
        try:
            return [decode_task(row, self._codec.decode_spec) for row in rows]
        except UnreadableError as error:  # pages have no checksums: what was overwritten may still be read
            self._damaged(Damage(f"it holds what was never written: {error}", may_be_misread=False))
            raise DamagedStoreError("the database is damaged", hint="try again in a moment: it is built anew") from error

    def _task(self, query: str, values: tuple[Any, ...]) -> Task | None:
        found = self._tasks(self._queries[query], values)
        return found[0] if found else None

    def pack(self, task: Task, spec: bytes) -> bytes:
        return self._records.pack(task, spec)

    def unpack(self, record: bytes) -> tuple[Task, bytes] | None:
        try:
            return self._records.unpack(record)
        except (ValueError, TypeError, KeyError, apsw.Error) as error:
            log.warning("a task's record cannot be read: %r", error)
            return None

    def load_queues(self) -> list[Queue]:
        rows: list[Any] = self._reading.execute(self._queries["queues"]).fetchall()
        return [Queue(tenant, name, running, waiting, bool(paused), at) for tenant, name, running, waiting, paused, at in rows]

    @reads
    def load(self, token: str) -> Task | None:
        return self._task("get_task", (token,))

    @reads
    def find_key(self, tenant: str, idempotency_key: str) -> Task | None:
        return self._task("task_of_key", (tenant, idempotency_key))

    @reads
    def load_live(self) -> list[Task]:
        live, self._live = self._live, None  # read while opening; only the first call is before the first commit
        return self._read_live() if live is None else live

    def _read_live(self) -> list[Task]:
        rows = self._reading.execute(self._queries["live_tasks"]).fetchall()
        decode_spec = cache(self._codec.decode_spec)  # tasks of one kind have the same spec, and then share it in memory
        return [decode_task(row, decode_spec) for row in rows]

    @reads
    def select(self, wanted: Filter, after: tuple[float, str] | None, limit: int, *, oldest_first: bool = False) -> list[Task]:
        where, values = where_of(wanted)
        if after is not None:
            where += f" AND (t.create_time, t.token) {'>' if oldest_first else '<'} (?, ?)"
            values += list(after)
        way = "ASC" if oldest_first else "DESC"
        statement = f"{self._queries['list_tasks']} {where} ORDER BY t.create_time {way}, t.token {way} LIMIT {int(limit)}"
        return self._tasks(statement, values)

    @reads
    def count(self, wanted: Filter) -> int:
        where, values = where_of(wanted)
        return int(self._rows(f"{self._queries['count_tasks']} {where}", values)[0][0])

    @reads
    def read_events(self, from_seq: int, limit: int, token: str = "", most_bytes: int = 0) -> Sequence[Block]:
        if token:
            # The task's block before from_seq may hold it, or end before it: then one more is needed.
            values: tuple[Any, ...] = (token, from_seq, limit + 1)
            rows = self._rows(self._queries["read_blocks_of_task"], values, partial(_long_enough, from_seq, most_bytes))
        else:
            # The block that holds from_seq may begin before it.
            begin = self._rows(self._queries["block_holding"], (from_seq,))[0][0]
            values = (begin or from_seq, limit)
            rows = self._rows(self._queries["read_blocks"], values, partial(_long_enough, from_seq, most_bytes))
        # Asked after reading: whatever was deleted while we read is then known to be gone, and never skipped in silence (G8).
        first = self.first_seq
        if from_seq < first:
            raise OutOfRangeError(
                f"events before seq {first} are no longer kept",
                metadata={"first_available_seq": str(first)},
                hint="start again with snapshot_first",
            )
        blocks = (Block(r[0], r[1], r[2], json.loads(r[3]), r[4], r[5], r[6]) for r in rows)
        return [block for block in blocks if block.last_seq >= from_seq][:limit]

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reading.close()
        self._writing.close()


def _long_enough(from_seq: int, most_bytes: int, cursor: apsw.Cursor) -> list[Any]:
    """Read blocks until those from `from_seq` on have so many bytes; 0 = all."""
    rows: list[Any] = []
    size_bytes = 0
    for row in cursor:
        rows.append(row)
        size_bytes += len(row[5]) if row[1] >= from_seq else 0
        if 0 < most_bytes <= size_bytes:
            break
    return rows


def _disk_full() -> LimitError:
    return LimitError(
        "the disk that holds the state directory is full; nothing was changed",
        reason="DISK_FULL",
        hint="free some space, or delete ended tasks with `taskmeter rm`",
        retry_after_seconds=5.0,
    )


def _open(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), statementcachesize=64)
    connection.set_busy_timeout(5000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", 2)  # FULL: NORMAL loses acknowledged rows at a power cut
    connection.pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
    connection.pragma("cache_size", -4096)  # KiB
    return connection
