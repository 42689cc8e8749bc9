"""The one object that the verbs work on: live tasks in memory, and the ports.

Memory changes in exactly one place, `Service.on_committed`, in the order of the event sequence, after the store has it on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from taskmeter.core.hub import Hub
from taskmeter.core.ingest import Ingest
from taskmeter.core.named_locks import NamedLocks
from taskmeter.core.ports import Block, Codec, Executor, Ingested, Meter, MeterSource, Sealer, Store
from taskmeter.core.quotas import QuotaGate
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.waiting_reason import waiting_reason
from taskmeter.errors import NotFoundError
from taskmeter.model.event import EventKind
from taskmeter.model.item import Said
from taskmeter.model.state import State
from taskmeter.model.task import Attach, Target, Task
from taskmeter.model.usage import Tariff

if TYPE_CHECKING:
    from taskmeter.core.side_file import SideFile
    from taskmeter.model.queue import Queue
    from taskmeter.model.schedule import Schedule

ENDED_CACHE_COUNT = 1024

REPORTED = bytes((EventKind.ITEM, EventKind.STEP, EventKind.MESSAGE))
"""Kinds of events that come from the work itself."""

log = logging.getLogger(__name__)


class Entry(Struct, eq=False):
    """A live task in memory. Everything that changes it holds `lock`."""

    task: Task
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    static: bytes | None = None
    """Its encoded status without the changing fields; None = must be encoded again."""
    launched: bool = False
    """The executor was given this attempt by this daemon, or holds it since an earlier one."""
    meter_later: bool = False
    """It runs since before this daemon, and its meter has not been opened yet."""
    reported_seq: int = 0
    """The newest event that its work reported."""
    idle_watched: bool = False
    """A timer looks for signs of work."""
    observing: bool = False
    observe_again: bool = False
    retry_logged: bool = False
    """Its new state could not be stored; this has been logged."""
    retry_timer: asyncio.TimerHandle | None = None
    look_timer: asyncio.TimerHandle | None = None
    """When a deadline of external work comes."""
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Service:
    """Live tasks, the hub, the scheduler and the ports."""

    def __init__(
        self, *, store: Store, executor: Executor, meter: Meter, codec: Codec, scheduler: Scheduler, boot_id: str = ""
    ) -> None:
        self.store = store
        self.executor = executor
        self.meter = meter
        self.codec = codec
        self.scheduler = scheduler
        self.boot_id = boot_id
        self.pump: Callable[[], None] = lambda: None
        """Called when a slot may be free; set by recovery when the service starts."""
        self.watch_idle: Callable[[Entry], None] = lambda _: None
        """Called for every task that runs; set likewise."""
        self.on_ended: Callable[[Task], None] = lambda _: None
        """Called for each task whose end is stored; set like `pump`, which is called after it."""
        self.many_lock = asyncio.Lock()
        """Held by whoever locks several tasks at once, and taken before any of theirs."""
        self.queue_lock = asyncio.Lock()
        """Held while a queue's definition changes."""
        self.retry_lock = asyncio.Lock()
        """Held by whoever retries tasks by filter."""
        self.queue_file: SideFile[Queue] | None = None
        """If set, where definitions of queues are kept besides the store."""
        self.schedule_file: SideFile[Schedule] | None = None
        """And schedules."""
        self.ended_locks, self.key_locks = NamedLocks(), NamedLocks()
        """By token, held by whoever changes an ended task or writes its record; of a live one it is its entry's lock. And by
        tenant and idempotency key, held while one is looked up or used."""
        self.due_timer: asyncio.TimerHandle | None = None
        """When the next waiting task becomes due; see core/launch.py."""
        self.hub, self.ingest = Hub(store), Ingest(self)
        self.quotas = QuotaGate(executor.sizes)
        self.live: dict[str, Entry] = {}
        self.retrying: set[str] = set()
        self.not_due: set[str] = set()
        """Tasks in NONE that have no place in the queue's order yet: their wait for the next attempt is not over. They count for
        its bounds all the same: nobody would believe a queue to have room that lists so many."""
        self.attaching: dict[Target, Attach] = {}
        """Processes whose tasks are being accepted."""
        self.environment: dict[str, str] = {}
        """Added to every task's environment: how to reach this daemon."""
        self.report_key_secret = b""
        self.tariffs: Mapping[str, Tariff] = {"": Tariff()}
        """By name; "" is what tasks get that name none. Read at acceptance: a task keeps its prices."""
        self.sealer: Sealer | None = None
        """If set, what tasks are given is stored encrypted."""
        self.deleting: set[str] = set()
        """Tasks whose files and rows are being deleted; nothing else may begin with them."""
        self.log_starts: dict[tuple[str, int, str], int] = store.upkeep.log_starts()
        """First available byte of each output (token, attempt, name) whose head was given up."""
        self.draining = False
        self._ended: OrderedDict[str, tuple[Task, bytes]] = OrderedDict()
        self._background: set[asyncio.Task[Any]] = set()
        store.set_listener(self.on_committed, self.on_ingested)

    def on_committed(self, results: list[tuple[Task, Block | None]]) -> None:
        """Take over what the store has committed: the only place where a task in memory changes."""
        for committed, block in results:
            task = committed
            entry = self.live.get(task.token)
            if entry is None:
                entry = Entry(task)
                if not task.ended:
                    self.live[task.token] = entry
            if task.attempt != entry.task.attempt:
                entry.launched = False
            elif task.seq < entry.task.seq or _count(task.said) < _count(entry.task.said):  # reported while this was committed
                seq, said = max(task.seq, entry.task.seq), max(task.said, entry.task.said, key=_count)
                task = task.evolve(seq=seq, said=said)
            entry.task = task
            if block is not None and any(kind in REPORTED for kind in block.kinds):
                entry.reported_seq = block.last_seq
            entry.static = None
            self._ended.pop(task.token, None)
            if task.ended and self.live.pop(task.token, None) is not None:
                self.on_ended(task)
            waiters, entry.waiters = entry.waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if block is not None:
                self.hub.publish(block)

    def on_ingested(self, done: Ingested) -> None:
        """Take over what the store has committed of an item log, in one order with the above."""
        block = done.block
        if block is None:
            return
        entry = self.live.get(done.token)
        if entry is not None:
            said = done.said if done.said is not None and done.attempt == entry.task.attempt else entry.task.said
            entry.task = entry.task.evolve(seq=block.last_seq, said=said)
            entry.static = None
            entry.reported_seq = block.last_seq
        self._ended.pop(done.token, None)
        self.hub.publish(block)

    def find(self, token: str, tenant: str) -> Task:
        """Return the task, live or ended. Raises `NotFoundError` for an unknown token and for another tenant's alike."""
        entry = self.live.get(token)
        task = entry.task if entry else self._ended[token][0] if token in self._ended else self.store.load(token)
        if task is None or task.tenant != tenant:
            raise NotFoundError("there is no task with this token")
        return task

    @asynccontextmanager
    async def change(self, token: str) -> AsyncIterator[Entry | None]:
        """Hold the lock of a task, live or ended, as it is once that is held; yield its entry, None of an ended one."""
        while True:
            entry = self.live.get(token)
            async with entry.lock if entry is not None else self.ended_locks.hold(token):
                if self.live.get(token) is entry:  # else it has ended meanwhile, or is to run again
                    yield entry
                    return

    def tenant_of(self, token: str) -> str | None:
        """Return whose task it is; None if there is none."""
        entry = self.live.get(token)
        task = entry.task if entry else self.store.load(token)
        return task.tenant if task is not None else None

    def status(self, token: str, tenant: str) -> bytes:
        """Return the encoded TaskStatus as of now."""
        entry = self.live.get(token)
        if entry is not None and entry.task.tenant == tenant:
            return self.status_of_entry(entry)
        found = self._ended.get(token)
        if found is None or found[0].tenant != tenant:
            return self.status_of_task(self.find(token, tenant))
        self._ended.move_to_end(token)
        return found[1]

    def status_of_entry(self, entry: Entry) -> bytes:
        task = entry.task
        static = entry.static
        if task.state is State.NONE:
            scheduler = self.scheduler
            position, reason = scheduler.position(task.token), waiting_reason(scheduler, task)
            return self.codec.status(task, metered=False, queue_position=position, waiting_reason=reason)
        if entry.meter_later:
            self.open_meter(entry)
        hot = self.meter.hot(task.token)
        if static is None:
            static = entry.static = self.codec.status(task, metered=bool(hot))
        return static + hot

    def brief_status(self, task: Task) -> bytes:
        """Encode the status of a task that a read of the store returned, without what its work said: that may be long."""
        entry = self.live.get(task.token)
        task = entry.task if entry is not None else task
        said = task.said
        if not _count(said):
            return self.status_of_task(task)
        hot = self.meter.hot(task.token) if entry is not None else b""
        counted = task.evolve(said=Said(error_count=said.error_count, warning_count=said.warning_count))
        return self.codec.status(counted, metered=bool(hot)) + hot

    def with_messages(self, task: Task) -> Task:
        """Return the task with what its work said; of one that was read from the store only the numbers are known."""
        said = task.said
        if said.errors or said.warnings or not _count(said):
            return task
        return task.evolve(said=self.store.items.said(task.token, task.attempt))

    def status_of_task(self, task: Task) -> bytes:
        """Encode the status of a task that a read of the store returned; if it is live, what memory knows is newer."""
        entry = self.live.get(task.token)
        if entry is not None:
            return self.status_of_entry(entry)
        data = self.codec.status(self.with_messages(task), metered=False)
        self._ended[task.token] = (task, data)
        if len(self._ended) > ENDED_CACHE_COUNT:
            self._ended.popitem(last=False)
        return data

    def forget(self, token: str) -> None:
        """Drop what memory holds of a deleted task."""
        self._ended.pop(token, None)

    def open_meter(self, entry: Entry) -> None:
        """Start metering a task whose main process runs; its status then takes the changing fields from the meter."""
        task = entry.task
        entry.meter_later = False
        if self.meter.is_open(task.token):
            return
        if task.spec.external is not None:
            source: MeterSource | None = MeterSource(0, 0, self.executor.directory_of(task.token, task.attempt), external=True)
        else:
            source = self.executor.meter_source(task.token, task.attempt)
        if source is not None:
            self.meter.open(task.token, source, task.tariff, task.spec.total_count, task.spec.total_size)
            self.meter.set_earlier(task.token, task.earlier)
            entry.static = None

    async def wait_for_change(self, entry: Entry, timeout_seconds: float | None) -> None:
        """Return when the entry's task has changed, or the time is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry.waiters.append(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout_seconds)
        except asyncio.CancelledError:
            if waiter in entry.waiters:
                entry.waiters.remove(waiter)
            raise

    def call_later(self, delay_seconds: float, call: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        """Call later, unless the loop ends before."""
        return asyncio.get_running_loop().call_later(delay_seconds, call, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in the background; what it raises is a bug and is logged, not lost."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())

    async def settle_background(self, timeout_seconds: float) -> None:
        """Wait for background work that is under way, but not for ever: whatever is not done is found again at the next start."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self._background and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._background, timeout=left)


def _count(said: Said) -> int:
    return said.error_count + said.warning_count
