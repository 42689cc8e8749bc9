"""What the core needs from the outside, as Protocols: a store, an executor, a meter, a codec.

The core calls these and never imports who implements them; `daemon.py` puts them together. Nothing here assumes that a
task's process is on this host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from taskmeter.core.item_ports import Intake, ItemSource, ItemStore
from taskmeter.model.event import Event
from taskmeter.model.item import Said
from taskmeter.model.queue import Queue
from taskmeter.model.report import Report
from taskmeter.model.resources import Resources
from taskmeter.model.retention import EndedTask
from taskmeter.model.schedule import Schedule
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Attach, Cause, StopOrder, Target, Task, TaskSpec
from taskmeter.model.usage import Integrals, MetricsHistory, Tariff, Usage

# ---------------------------------------------------------------------------------------------------------- store


class Change(Struct, frozen=True, gc=False):
    """One task's new value and the events that say so; committed together or not at all."""

    task: Task
    events: tuple[Event, ...]
    spec: bytes | None = None
    """The encoded spec of a new task, which is inserted; None = the task is there already."""
    new_spec: bytes | None = None
    """Replaces the stored spec of a task that is there, and nothing else of it: the same spec, sealed with another key."""
    delete: bool = False
    attempt: bool = False
    """Write the attempt's own row too: at its launch and at its end."""
    ended: Task | None = None
    """The task as the attempt before `task`'s left it: that attempt's row is written."""
    before: tuple[int, State] | None = None
    """Attempt and state that the task must have in the store, or nothing is written; None = those of `task`."""


class Block(Struct, frozen=True, gc=False):
    """Consecutive events of one task, encoded: what the store keeps and what subscribers are sent."""

    first_seq: int
    last_seq: int
    token: str
    tags: Mapping[str, str]
    kinds: bytes
    """One EventKind per event."""
    frames: bytes
    """One `StreamEventsResponse.events` field per event, tag and length included."""
    tenant: str


class Ingested(Struct, frozen=True, gc=False):
    """A batch that is on disk."""

    token: str
    attempt: int
    block: Block | None
    """None if there was no event in it."""
    said: Said | None
    """What the status shows from now on, if that changed."""


class Filter(Struct, frozen=True, gc=False):
    """Which tasks ListTasks wants; all that are set must hold."""

    tenant: str
    states: frozenset[State] = frozenset()
    outcomes: frozenset[Outcome] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    project_id: str = ""
    source: str = ""
    name_prefix: str = ""
    created_after_time: float = 0.0
    created_before_time: float = 0.0
    queue: str = ""


class ScheduleStore(Protocol):
    """Keeps schedules. What changes something raises what `Store.commit` raises."""

    def load(self) -> list[Schedule]:
        """Read all of them."""

    async def put(self, schedule: Schedule) -> None:
        """Keep a schedule, in place of the one before."""

    async def delete(self, tenant: str, name: str) -> None:
        """Forget one."""


class Upkeep(Protocol):
    """What retention asks of the store. What changes something raises what `Store.commit` raises."""

    def ended(self, after: tuple[float, str]) -> list[EndedTask]:
        """Read a page of ended tasks, in order of (end_time, token), that come after this one; empty at the end."""

    def unmeasured(self, limit: int) -> list[tuple[str, int]]:
        """Read (token, attempt) of ended tasks whose size is not known."""

    def ended_count(self) -> int:
        """Count the ended tasks."""

    def ended_bytes(self) -> int:
        """Disk space of all ended tasks, as far as they were measured."""

    async def put_sizes(self, sizes: Sequence[tuple[str, int, int]]) -> None:
        """Keep (token, attempt, bytes on disk) of ended tasks."""

    async def compact_events(self, before_time: float, before_seq: int) -> int:
        """Delete the oldest blocks that are older than either, at most a page; returns how many. `first_seq` goes with them."""

    def log_starts(self) -> dict[tuple[str, int, str], int]:
        """Read the first available offset of each output (token, attempt, name) that lost its head."""

    async def put_log_start(self, token: str, attempt: int, name: str, offset: int) -> None:
        """Make durable that nothing before `offset` is available."""


class Store(Protocol):
    """The durable truth about tasks and events. One writer; a commit is acknowledged when it is on disk."""

    store_id: str

    @property
    def disk_full(self) -> bool:
        """New tasks are refused until there is room again."""

    @property
    def failure(self) -> str:
        """Why nothing more is written by this process; empty while it is."""

    @property
    def upkeep(self) -> Upkeep:
        """What only retention uses."""

    @property
    def schedules(self) -> ScheduleStore:
        """Where recurring schedules are kept."""

    @property
    def items(self) -> ItemStore:
        """What the work of tasks has reported."""

    @property
    def head_seq(self) -> int:
        """The newest committed seq; 0 in an empty store."""

    @property
    def first_seq(self) -> int:
        """The oldest seq still kept; head + 1 when none is."""

    async def commit(self, changes: Sequence[Change]) -> list[tuple[Task, Block | None]]:
        """Commit all changes in one transaction; return each task with its new `seq`, and its block.

        Raises `LimitError` DISK_FULL or `UnavailableError` STORE_UNAVAILABLE; then nothing was changed.
        """

    async def ingest(self, intake: Intake) -> Ingested:
        """Commit a batch of a task's item log with its offsets; nothing of it if the task was deleted. Raises as `commit`."""

    async def put_queue(self, queue: Queue) -> None:
        """Keep a queue's definition, in place of the one before. Raises what `commit` raises."""

    async def delete_queue(self, tenant: str, name: str) -> None:
        """Forget a queue's definition. Raises what `commit` raises."""

    def load_queues(self) -> list[Queue]:
        """Read all queues that were put."""

    def load(self, token: str) -> Task | None:
        """Read one task, or None."""

    def load_live(self) -> list[Task]:
        """Read all tasks that have not ended, oldest first."""

    def find_key(self, tenant: str, idempotency_key: str) -> Task | None:
        """Read the newest task with this key, or None."""

    def set_listener(
        self, on_committed: Callable[[list[tuple[Task, Block | None]]], None], on_ingested: Callable[[Ingested], None]
    ) -> None:
        """Have what is committed passed to `on_committed`, and what is ingested to `on_ingested`, before their calls return.

        Both on the loop, and together in order of seq.
        """

    def select(self, wanted: Filter, after: tuple[float, str] | None, limit: int, *, oldest_first: bool = False) -> list[Task]:
        """Read up to `limit` tasks, newest or oldest first, that come after the (create_time, token) of the page before."""

    def count(self, wanted: Filter) -> int:
        """Count the tasks that match."""

    def read_events(self, from_seq: int, limit: int, token: str = "", most_bytes: int = 0) -> Sequence[Block]:
        """Read blocks whose last_seq is at least `from_seq`, in order, at most `limit` of them; of one task if `token`.

        With `most_bytes`, the one that makes them as long as that, or longer, is the last one.

        Raises `OutOfRangeError` EVENTS_COMPACTED when events from there on are no longer all kept.
        """

    def pack(self, task: Task, spec: bytes) -> bytes:
        """Encode a task that is being accepted, for its directory: a new store gets it back from there."""

    def unpack(self, record: bytes) -> tuple[Task, bytes] | None:
        """Return what was packed, as of its acceptance, and the encoded spec; None if the record is not sound."""

    async def close(self) -> None:
        """Finish what was handed in, checkpoint, close."""


# ------------------------------------------------------------------------------------------------------- executor


class Launch(Struct, frozen=True, gc=False):
    """All the executor needs to start one attempt."""

    token: str
    attempt: int
    incarnation: int
    spec: TaskSpec
    environment: Mapping[str, str]
    """TASKMETER_* and whatever else the service adds; put over the spec's."""
    target: Target | None = None
    """The process to watch, of a spec that attaches."""


class Started(Struct, frozen=True, gc=False):
    """The main process runs (or ran)."""

    pid: int
    start_time: float


class Ended(Struct, frozen=True, gc=False):
    """The main process has ended; how is not interpreted here beyond what the kernel said."""

    failed_to_start: bool
    exit_code: int
    exit_signal: int
    core_dumped: bool
    cause: Cause
    """The order that was acted on before it ended."""
    forced: bool
    start_time: float
    end_time: float
    start_message: str = ""
    """One sentence, when it failed to start."""
    unknown: bool = False
    """A process that was attached has ended; with which code or signal, nobody could read."""
    detached: bool = False
    """A process that was attached runs on, and is watched no more."""
    oom_kill_count: int = 0
    """Processes of it that the kernel had killed for want of memory by then; 0 where there is no memory cgroup."""


class Gone(Struct, frozen=True, gc=False):
    """The tree is empty."""

    time: float
    reaped_cpu_ns: int
    cgroup_cpu_ns: int
    max_rss_bytes: int
    kernel_peak_memory_bytes: int
    read_bytes: int | None
    write_bytes: int | None
    killed_count: int
    minor_fault_count: int = 0
    major_fault_count: int = 0
    voluntary_switch_count: int = 0
    involuntary_switch_count: int = 0
    """Of all that were reaped; 0 when nothing was recorded."""
    clock_seconds: float = 0.0
    """`time` on CLOCK_BOOTTIME of the boot it ran in; 0 when it is not known."""


class Facts(Struct, frozen=True, gc=False):
    """What is known of one attempt right now. Facts only ever grow."""

    claimed: bool
    alive: bool
    """Its supervisor lives, so more facts will come."""
    started: Started | None = None
    ended: Ended | None = None
    gone: Gone | None = None
    unkillable_pids: tuple[int, ...] = ()
    same_boot: bool = True


class MeterSource(Struct, frozen=True, gc=False):
    """Where the meter finds one attempt's processes and pages; paths are on the host that meters."""

    shim_pid: int
    main_pid: int
    directory: str
    """The attempt directory: report, gone and meter pages lie in it."""
    cgroup_v2: str = ""
    cgroup_v1_memory: str = ""
    cgroup_v1_cpuacct: str = ""
    """Where there is no v2."""
    attached: bool = False
    """The main process ran before: what it had used by then is not billed, and no supervisor reaps its tree."""
    include_descendants: bool = True
    """If attached: its descendants are metered, too."""
    main_start_ticks: int = 0
    """With `main_pid`, who is attached."""
    external: bool = False
    """It runs elsewhere: there is nothing of it here but what is reported."""


class Found(Struct, frozen=True, gc=False):
    """A process that can be attached."""

    target: Target
    name: str
    """What to call it."""
    ancestors: frozenset[int]
    """The pids above it, as of just now."""


class Claimed(Struct, frozen=True, gc=False):
    """Somebody has begun an attempt, or has seen to it that nobody ever does."""

    incarnation: int
    """0 if the claim cannot be read."""
    boot_id: str
    time: float


class Stored(Struct, frozen=True, gc=False):
    """What lies in the directory of one attempt."""

    token: str
    attempt: int
    record: bytes
    """What `prepare` was given; b"" if it is not there."""
    claim: Claimed | None
    order: StopOrder | None = None
    """The newest that its supervisor was given."""


class Executor(Protocol):
    """Runs attempts somewhere and survives nothing itself: it can be asked again about everything after a restart."""

    def set_listener(self, on_change: Callable[[str, int], None]) -> None:
        """Have `on_change(token, attempt)` called on the loop whenever facts may have grown. May be called for nothing."""

    async def prepare(self, token: str, attempt: int, record: bytes) -> None:
        """Make the attempt's directory and keep the task's record in it. Raises `LimitError` DISK_FULL."""

    def unprepare(self, token: str, attempt: int) -> None:
        """Undo `prepare` of a task's further attempt, which nobody has launched: no new store may find it. Raises `OSError`."""

    def rewrite_record(self, token: str, attempt: int, record: bytes, *, durable: bool = True) -> None:
        """Replace what `prepare` was given, in one step; an attempt's directory is made if it is the task's next one.

        Harmless if the task's directory is gone. If `durable`, it is on disk when this returns, and may block for that.
        """

    def stored(self) -> Iterator[Stored]:
        """Go through all attempts that have a directory; those of one task together, the newest first."""

    def identify(self, attach: Attach) -> Found:
        """Find the process that a spec wants to attach, and see whether it may be.

        Raises `InvalidArgumentError` for one that does not exist or cannot be meant, `PreconditionError` UNSUPPORTED_HERE for
        one that is not ours to stop and to read.
        """

    def ancestors_of(self, pid: int) -> frozenset[int]:
        """The pids above a process, as of just now."""

    def check_limits(self, resources: Resources) -> None:
        """See whether a task can be held to these amounts here. Raises `PreconditionError` UNSUPPORTED_HERE naming which not."""

    def check_user(self, user: str) -> None:
        """See whether a task may run as this user, "" = nobody in particular.

        Raises `PreconditionError` UNSUPPORTED_HERE where no task can name one, `InvalidArgumentError` for one that may not be.
        """

    async def launch(self, launch: Launch) -> None:
        """Start the attempt's supervisor; returns once it is spawned. Harmless when the attempt was claimed before.

        Raises `OSError` when it cannot be spawned at all; then the attempt has been claimed by us and never runs. Raises
        `UnavailableError` when it cannot just now; then nothing has happened.
        """

    def order_stop(self, token: str, attempt: int, cause: Cause, grace_seconds: float, serial: int) -> None:
        """Tell the supervisor to end the tree; durable before it returns. Later serials may only shorten the grace."""

    def facts(self, token: str, attempt: int) -> Facts:
        """Read the attempt's records, in the order claim → lock → exit (reliability: Recovery)."""

    def cancel_unclaimed(self, token: str, attempt: int, incarnation: int, cause: Cause) -> bool:
        """Win the claim ourselves so that the attempt never starts; False if a supervisor was faster.

        `cause`: why it is not wanted; NONE = it is, but its supervisor died before it began.
        """

    def adopt(self, token: str, attempt: int, *, started: bool = False, at_once: bool = True) -> None:
        """Watch an attempt that an earlier daemon launched and that still runs. `started`: its main process is known to run.

        Not `at_once`: nothing is to be done for it before it ends, so its supervisor may be looked up by `attach_some`.
        """

    def attach_some(self, most: int) -> bool:
        """Look up the supervisors of `most` attempts that were adopted without; tells whether there are more."""

    async def kill_leftovers(self, token: str, attempt: int) -> int:
        """Kill what is left of a tree whose supervisor died; returns how many processes were killed.

        Nothing of a process that was attached: it was not started here, and nobody has asked for its end.
        """

    def last_account(self, token: str, attempt: int) -> Gone:
        """What a tree without a supervisor had used by now, as far as that can be known; its `time` is now."""

    def directory_of(self, token: str, attempt: int) -> str:
        """Absolute path of the attempt directory."""

    def meter_source(self, token: str, attempt: int) -> MeterSource | None:
        """Where to meter it; None before it started."""

    def settle(self, token: str, attempt: int) -> None:
        """The attempt's end is stored: release descriptors and remove its cgroups."""

    async def remove(self, token: str) -> None:
        """Delete every file of the task."""

    def discard(self, token: str) -> None:
        """Move the files of a task out of sight, in one step. A later daemon deletes them if `remove_discarded` never comes."""

    def take_back(self, token: str) -> None:
        """Undo `discard`."""

    async def remove_discarded(self, tokens: Sequence[str]) -> None:
        """Delete what was discarded."""

    async def sizes(self, tokens: Sequence[str]) -> list[int]:
        """Measure the disk space in bytes of the files of these tasks."""

    def items_of(self, token: str, attempt: int) -> ItemSource:
        """Where the attempt's item log is."""

    def log_bytes(self, token: str, attempt: int, name: str) -> int:
        """Size of an output, `stdout` or `stderr`; 0 when there is none."""

    def log_start(self, token: str, attempt: int, name: str) -> int:
        """Where an output begins whose head was punched; 0 if all of it is there."""

    async def punch_log(self, token: str, attempt: int, name: str, end: int) -> None:
        """Give the disk space of an output up to `end` back; offsets stay what they are. Raises `OSError`."""

    def path_of(self, token: str, attempt: int, name: str) -> str:
        """Absolute path of `stdout`, `stderr` or another entry of the task's own directory."""

    async def close(self) -> None:
        """Stop watching. Tasks run on."""


# ---------------------------------------------------------------------------------------------------------- meter


class Meter(Protocol):
    """Samples running attempts and accounts for ended ones. Knows nothing of states."""

    def open(self, token: str, source: MeterSource, tariff: Tariff, total_count: int, total_size: int) -> None:
        """Start sampling, or go on from the attempt's meter page. A first sample is taken at once."""

    def is_open(self, token: str) -> bool: ...

    def hot(self, token: str) -> bytes:
        """The changing fields of TaskStatus, encoded (counters, rates, ETA, text, metrics, tokens). b"" if not open."""

    def version(self, token: str) -> int:
        """Grows when `hot` shows something new; 0 if not open."""

    def idle_seconds(self, token: str, directory: str, reported: int = 0) -> float:
        """For how long the attempt in `directory` has given no sign of work, as of its newest sample; survives this process.

        Any change of `reported` is a sign, too.
        """

    def is_ready(self, token: str) -> bool:
        """The work announced that it is ready."""

    def take_report(self, directory: str, report: Report) -> bytes:
        """Return the attempt's reports with one more among them, for `keep_report`; the room they need on disk is there then.

        Raises `InvalidArgumentError` naming a counter that would become too large, or is one too many; `OSError`.
        """

    def keep_report(self, token: str, directory: str, reports: bytes) -> None:
        """Keep what `take_report` returned, in place of the reports before; it outlives this process. Raises `OSError`."""

    def set_earlier(self, token: str, earlier: Integrals) -> None:
        """Integrals of earlier attempts, added to the tokens that `hot` shows."""

    def settle(self, token: str, directory: str, ended: Ended | None, gone: Gone | None) -> Usage:
        """Take the last sample, close the slot, and return the attempt's final usage. Works for attempts never opened."""

    def history(self, token: str, directory: str, from_time: float, to_time: float, resolution_seconds: float) -> MetricsHistory:
        """Use over time of the attempt in `directory`, up to this moment if it is open; empty if there is nothing of it.

        Times are Unix seconds, `to_time` 0 = its end. The step is `resolution_seconds` or the next coarser that is kept; 0 = the
        finest that reaches back to `from_time`.
        """

    def close(self) -> None:
        """Stop sampling; meter pages keep what was billed."""


# ---------------------------------------------------------------------------------------------------------- codec


class Sealer(Protocol):
    """Encrypts what is stored of secrets; knows a newest key and older ones."""

    def seal(self, secret: bytes, token: str, tenant: str) -> bytes:
        """Encrypt for one task of one tenant, with the newest key."""

    def open(self, sealed: bytes, token: str, tenant: str) -> bytes:
        """Decrypt. Raises `PreconditionError` UNSUPPORTED_HERE if no key opens it, or if it was sealed for another task."""

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether it was sealed with the newest key."""

    def hashes(self, data: bytes) -> list[bytes]:
        """Return the keyed hash of `data` by every key, the newest first."""


class Codec(Protocol):
    """Between model values and their encoded form; the store and the streams handle only bytes."""

    def encode_spec(self, spec: TaskSpec) -> bytes:
        """Deterministic serialization: equal specs give equal bytes."""

    def decode_spec(self, data: bytes) -> TaskSpec:
        """Read back what `encode_spec` wrote; what was sealed stays so. Raises `ValueError` if it is something else."""

    def encode_secrets(self, spec: TaskSpec) -> bytes:
        """Serialize what a spec keeps secret: arguments, environment, input."""

    def with_secrets(self, spec: TaskSpec, secrets: bytes) -> TaskSpec:
        """Return the spec with what `encode_secrets` wrote."""

    def frame_event(self, event: Event, seq: int) -> bytes:
        """Encode one event as a framed `StreamEventsResponse.events` field."""

    def status(self, task: Task, *, metered: bool, queue_position: int | None = None, waiting_reason: str = "") -> bytes:
        """Encode a TaskStatus; if `metered`, without the changing fields that `Meter.hot` adds."""
