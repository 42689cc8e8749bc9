"""Results as objects: each is the documented dict of `view` and has the proto's field names as attributes too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from google.protobuf.message import Message

from taskmeter.client import view
from taskmeter.model.event import EventKind
from taskmeter.model.state import Outcome, State
from taskmeter.v1 import admin_service_pb2, event_pb2, task_pb2, usage_pb2

_SIMPLE_OUTCOME = {
    Outcome.SUCCEEDED: "success",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.CANCELLED: "cancelled",
    Outcome.IDLE_EXPIRED: "cancelled",
    Outcome.DEPENDENCY_FAILED: "rejected",
}
"""All other outcomes are "failed"."""


class View(dict[str, Any]):
    """A message in the form of the status view: `status["completedCount"]` and `status.completed_count` are the same."""

    __slots__ = ()
    _descriptor: ClassVar[Any]
    _wrap: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def of(cls, message: Message) -> Self:
        """Build it from a message."""
        return cls(view.message_view(message))

    def __getattr__(self, name: str) -> Any:
        key = view.keys_of(self._descriptor).get(name)
        if key is None:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        value = self.get(key)
        wrap = self._wrap.get(name)
        return value if wrap is None or value is None else wrap(value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *view.keys_of(self._descriptor)]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain dict."""
        return dict(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """Return it as JSON."""
        return view.to_json(self, indent=indent)


class TaskMetrics(View):
    """Use of the whole process tree: now, peak, average. Everything is None when nothing was measured."""

    __slots__ = ()
    _descriptor = usage_pb2.TaskMetrics.DESCRIPTOR

    cpu_percent: float | None
    cpu_memory_mb: float | None
    gpu_memory_mb: float | None
    peak_cpu_percent: float | None
    peak_cpu_memory_mb: float | None
    peak_gpu_memory_mb: float | None
    avg_cpu_percent: float | None
    avg_cpu_memory_mb: float | None
    avg_gpu_memory_mb: float | None
    cpu_cores: float | None
    cpu_time_ns: int | None
    memory_bytes: int | None
    peak_memory_bytes: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    process_count: int | None
    thread_count: int | None
    gpu_utilization_percent: float | None
    peak_gpu_utilization_percent: float | None
    gpus: list[dict[str, Any]]
    source: int | None
    sample_time: float | None
    interval_seconds: float | None
    gap: bool | None
    pss_bytes: int | None
    kernel_peak_memory_bytes: int | None
    memory_source: int | None
    open_file_count: int | None
    voluntary_switch_count: int | None
    involuntary_switch_count: int | None
    minor_fault_count: int | None
    major_fault_count: int | None
    uss_bytes: int | None
    cpu_pressure_percent: float | None
    memory_pressure_percent: float | None
    io_pressure_percent: float | None
    recent_peak_cpu_percent: float | None
    recent_peak_memory_bytes: int | None


class TaskTokens(View):
    """Use integrated over time and priced by a tariff, over all attempts."""

    __slots__ = ()
    _descriptor = usage_pb2.TaskTokens.DESCRIPTOR

    cpu_utilization: float
    cpu_memory: float
    gpu_memory: float
    total: float
    custom: dict[str, float]
    tariff: str
    cpu_ns: int
    memory_byte_seconds: float
    gpu_memory_byte_seconds: float
    gpu_utilization: float
    gpu_ns: int


class TaskPipeflow(View):
    """Which stages items are in, per pipe, and what each worker does."""

    __slots__ = ()
    _descriptor = task_pb2.TaskPipeflow.DESCRIPTOR

    total_pipes: int
    by_pipe: dict[str, list[str]]
    workers: dict[str, dict[str, Any]]


class TaskTimings(View):
    """How long the current attempt has spent in each phase; None for phases it has not reached."""

    __slots__ = ()
    _descriptor = task_pb2.TaskTimings.DESCRIPTOR

    queue_seconds: float | None
    start_seconds: float | None
    run_seconds: float | None
    stop_seconds: float | None
    total_seconds: float | None


class TaskStatus(View):
    """One task as it stands; `view` lists the keys, the contract their meaning."""

    __slots__ = ()
    _descriptor = task_pb2.TaskStatus.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {
        "state": State,
        "outcome": Outcome,
        "metrics": TaskMetrics,
        "tokens": TaskTokens,
        "pipeflow": TaskPipeflow,
        "timings": TaskTimings,
    }

    token: str
    name: str
    project_id: str
    source: str
    state: State
    completed: bool
    outcome: Outcome
    create_time: float
    start_time: float
    end_time: float
    total_count: int
    completed_count: int
    failed_count: int
    total_size: int
    completed_size: int
    failed_size: int
    rate_count: int
    rate_size: int
    rate_count_per_second: float
    rate_size_per_second: float
    eta_seconds: float | None
    eta_low_seconds: float | None
    eta_high_seconds: float | None
    errors: list[str]
    warnings: list[str]
    error_count: int
    warning_count: int
    status: str
    current_object: str
    exit_code: int
    exit_message: str
    exit_signal: int
    metrics: TaskMetrics
    tokens: TaskTokens
    pipeflow: TaskPipeflow
    attempt: int
    retries_used: int
    max_retries: int
    tags: dict[str, str]
    metadata: dict[str, str]
    queue_position: int | None
    node: str
    pid: int
    timings: TaskTimings
    seq: int
    work_summary: str
    queue: str
    idempotency_key: str
    input_submit_time: float
    machine_type: str
    waiting_reason: str
    unkillable_pids: list[int]
    stalled: bool

    @property
    def simple_status(self) -> str:
        """One of pending, running, success, failed, interrupted, cancelled, rejected: the words of simpler task managers.

        A task that waits for a slot or for a retry is pending, not running; `waiting_reason` tells which. A success is only what
        is known to be one.
        """
        if self.completed:
            return _SIMPLE_OUTCOME.get(self.outcome, "failed")
        return "pending" if self.state is State.NONE else "running"

    def __repr__(self) -> str:
        return f"<TaskStatus {self.token} {self.state.name} {self.outcome.name} seq={self.seq}>"


class StateChanged(View):
    """The task moved; `status` is how it then stood."""

    __slots__ = ()
    _descriptor = event_pb2.StateChanged.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"from_state": State, "to_state": State, "outcome": Outcome, "status": TaskStatus}

    from_state: State
    to_state: State
    outcome: Outcome
    reason: str
    status: TaskStatus | None


class LogChunk(View):
    """Bytes that a task wrote; outside the sequence, resumable by offset."""

    __slots__ = ()
    _descriptor = event_pb2.LogChunk.DESCRIPTOR

    stream: int
    offset: int
    data: bytes


class Event(View):
    """One durable fact; exactly one of the payload attributes is not None."""

    __slots__ = ()
    _descriptor = event_pb2.Event.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"state_changed": StateChanged, "log": LogChunk}

    seq: int
    time: float
    token: str
    attempt: int
    tags: dict[str, str]
    state_changed: StateChanged | None
    item_changed: dict[str, Any] | None
    step: dict[str, Any] | None
    message: dict[str, Any] | None
    log: LogChunk | None
    metadata_changed: dict[str, Any] | None
    task_deleted: dict[str, Any] | None

    @classmethod
    def of(cls, message: Message) -> Self:
        """Build it from an event message."""
        if not isinstance(message, event_pb2.Event):
            raise TypeError(type(message).__name__)
        return cls(view.event_view(message))

    @property
    def kind(self) -> EventKind:
        """Which kind of fact it is; raises `ValueError` for kinds newer than this client."""
        return EventKind(self["kind"])


class TaskRecord(View):
    """What was asked and what came of it, for reading afterwards."""

    __slots__ = ()
    _descriptor = task_pb2.TaskRecord.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"status": TaskStatus}

    status: TaskStatus
    func_name: str
    args_json: str
    kwargs_json: str
    error: str | None
    stacktrace: str | None
    logs: list[str]
    result_json: str | None
    encrypted: bool


class ServerInfo(View):
    """What a daemon says of itself."""

    __slots__ = ()
    _descriptor = admin_service_pb2.GetServerInfoResponse.DESCRIPTOR

    version: str
    store_id: str
    node: str
    pid: int
    start_time: float
    running_count: int
    waiting_count: int
    max_running_count: int
    head_seq: int
    first_seq: int
    state_directory: str
    grpc_targets: list[str]
    cpu_source: str
    memory_source: str
    sample_rate_hz: float
    draining: bool
    auto_started: bool
    ended_count: int
    meter_backend: str
    tariffs: list[str]
    disk_full: bool
    store_failure: str
    retention: str
