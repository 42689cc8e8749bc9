"""What was asked (TaskSpec) and everything that happened to it (Task): frozen values; a change is a new value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from taskmeter.model.item import Said
from taskmeter.model.resources import Resources
from taskmeter.model.retry import RetryPolicy, Wait
from taskmeter.model.state import TERMINAL, Outcome, State
from taskmeter.model.usage import Integrals, Tariff, Usage

DEFAULT_GRACE_SECONDS = 10.0
DEFAULT_TENANT = "default"
LOCAL_NODE = "local"
NOTHING_ASKED = Resources()
NOTHING_SAID = Said()


class Cause(IntEnum):
    """Why a tree was asked to end; numbers of `enum tm_cause` in native/shim/taskdir.h."""

    NONE = 0
    CANCEL = 1
    TIMEOUT = 2
    INTERRUPT = 3
    IDLE = 4


class Attach(Struct, frozen=True, gc=False):
    """The request to watch a process that runs already."""

    pid: int
    include_descendants: bool = False


class External(Struct, frozen=True, gc=False):
    """Work that runs elsewhere and reports itself."""

    kind: str = ""


class Target(Struct, frozen=True, gc=False):
    """The process that was attached, as it was when the task was accepted: a pid alone may come round."""

    pid: int
    start_ticks: int
    boot_id: str


class TaskSpec(Struct, frozen=True, gc=False):
    """One accepted request to run a command, to attach a process, or to follow what runs elsewhere.

    Field meanings are those of `taskmeter.v1.TaskSpec`.
    """

    argv: tuple[str, ...]
    name: str = ""
    project_id: str = ""
    source: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    stdin_data: bytes = b""
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 0.0
    grace_period_seconds: float = DEFAULT_GRACE_SECONDS
    queue: str = ""
    priority: int = 0
    start_after_time: float = 0.0
    after: tuple[str, ...] = ()
    resources: Resources = NOTHING_ASKED
    tariff: str = ""
    total_count: int = 0
    total_size: int = 0
    announces_ready: bool = False
    shared_work_directory: bool = False
    umask: int | None = None
    merge_stderr: bool = False
    retry: RetryPolicy | None = None
    """None = never."""
    requeue_on_interrupt: bool = False
    attach: Attach | None = None
    """If set, `argv` is empty."""
    external: External | None = None
    """Likewise."""
    sealed: bytes = b""
    """`argv`, `env` and `stdin_data`, encrypted; they are empty then, and only `core.secrets` opens them."""
    idle_ttl_seconds: float = 0.0
    rlimits: Mapping[str, int] = field(default_factory=dict)
    """By name, "nofile" and so on, of every process; soft and hard."""
    nice: int | None = None
    user: str = ""
    """Whom it runs as; "" = whom the daemon says."""


class StopOrder(Struct, frozen=True, gc=False):
    """That, when and why an attempt was asked to end; the first order's cause counts, but that of a cancel over all others."""

    cause: Cause
    time: float
    grace_seconds: float
    reason: str = ""
    serial: int = 1


class Task(Struct, frozen=True, gc=False):
    """One task as of event `seq`. Times are Unix seconds, 0.0 = not yet; those from `launch_time` on are of this attempt."""

    token: str
    spec: TaskSpec
    spec_hash: bytes
    create_time: float
    tenant: str = DEFAULT_TENANT
    node: str = LOCAL_NODE
    executor: str = "local"
    idempotency_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    state: State = State.NONE
    outcome: Outcome = Outcome.UNSPECIFIED
    attempt: int = 0
    retries_used: int = 0
    queued_time: float = 0.0
    incarnation: int = 0
    boot_id: str = ""
    launch_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    gone_time: float = 0.0
    pid: int = 0
    exit_code: int = 0
    exit_signal: int = 0
    exit_message: str = ""
    stop: StopOrder | None = None
    wait: Wait | None = None
    """Of this attempt, before its start."""
    unkillable_pids: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    """What this attempt was given of those that `resources` asks for, as CUDA_VISIBLE_DEVICES names them."""
    target: Target | None = None
    """Of a task that attaches."""
    usage: Usage | None = None
    """Of this attempt, once it ended."""
    earlier: Integrals = field(default_factory=Integrals)
    """Sum over the attempts before this one."""
    tariff: Tariff = field(default_factory=Tariff)
    """The prices as of acceptance: they hold for the task's whole life."""
    said: Said = NOTHING_SAID
    """What its work said, as far as that is known in memory: the task's own row does not have it."""
    seq: int = 0

    def evolve(self, **changes: Any) -> Task:
        """Return a copy with some fields changed. Raises `TypeError` for a field that a Task does not have."""
        return replace(self, **changes)

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL
