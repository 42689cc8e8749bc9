"""What a task used: metrics as last seen, integrals as billed, progress as reported. Unmeasurable is `None`, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct, field

_NS_PER_HOUR = 3600e9
_BYTE_NS2_PER_GIB_HOUR = 2.0 * _NS_PER_HOUR * 2**30


class MetricsSource(IntEnum):
    """Where the CPU total comes from; numbers as on the wire."""

    UNSPECIFIED = 0
    CGROUP = 1
    BPF = 2
    CLOCK = 3
    PROCFS = 4
    EXTERNAL = 5
    RUSAGE = 6


class MemorySource(IntEnum):
    """What the memory figure is made of; numbers as on the wire."""

    UNSPECIFIED = 0
    CGROUP = 1
    PSS = 2
    RSS = 3
    EXTERNAL = 4


class GpuUse(Struct, frozen=True, gc=False, array_like=True):
    """Use of one GPU."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    utilization_percent: float | None


class Metrics(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Use of the whole process tree of one attempt: now (at its end: the last sample), peak and average."""

    cpu_percent: float = 0.0
    peak_cpu_percent: float = 0.0
    avg_cpu_percent: float = 0.0
    cpu_cores: float = 0.0
    cpu_time_ns: int = 0
    memory_bytes: int = 0
    peak_memory_bytes: int = 0
    avg_memory_bytes: float = 0.0
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    process_count: int = 0
    thread_count: int = 0
    source: MetricsSource = MetricsSource.UNSPECIFIED
    memory_source: MemorySource = MemorySource.UNSPECIFIED
    sample_time: float = 0.0
    interval_seconds: float = 0.0
    gap: bool = False
    pss_bytes: int | None = None
    kernel_peak_memory_bytes: int | None = None
    uss_bytes: int | None = None
    recent_peak_cpu_percent: float = 0.0
    recent_peak_memory_bytes: int = 0
    open_file_count: int | None = None
    voluntary_switch_count: int | None = None
    involuntary_switch_count: int | None = None
    minor_fault_count: int | None = None
    major_fault_count: int | None = None
    cpu_pressure_percent: float | None = None
    memory_pressure_percent: float | None = None
    io_pressure_percent: float | None = None
    gpu_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    avg_gpu_memory_bytes: float | None = None
    gpu_utilization_percent: float | None = None
    peak_gpu_utilization_percent: float | None = None
    gpus: tuple[GpuUse, ...] = ()


class MetricsPoint(NamedTuple):
    """Use over one step of a history: means, and the highest where it matters."""

    time: float
    """When the step begins, in Unix seconds."""
    covered_seconds: float
    """How much of it was sampled; the means are over this."""
    cpu_cores: float
    cpu_cores_max: float
    memory_bytes: int
    memory_bytes_max: int
    gpu_memory_bytes: int | None
    gpu_utilization_percent: float | None
    rate_count_per_second: float
    rate_size_per_second: float
    gap: bool
    """Nothing was sampled in a part of the step."""


class MetricsHistory(Struct, frozen=True, gc=False):
    """Use of one attempt over time, oldest step first; steps of which nothing is known are left out."""

    resolution_seconds: float = 0.0
    """Length of a step; 0 when there are no points at all."""
    points: tuple[MetricsPoint, ...] = ()


class Integrals(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Use integrated over time, in integers only; the bill is computed from these, never from rounded parts."""

    cpu_ns: int = 0
    memory_byte_ns2: int = 0
    """Doubled trapezoid (m0 + m1)·dt in byte-nanoseconds."""
    gpu_memory_byte_ns2: int = 0
    gpu_ns: int = 0
    custom: Mapping[str, int] = field(default_factory=dict)
    """The work's own counters."""

    def __add__(self, other: Integrals) -> Integrals:
        names = {**self.custom, **other.custom}
        return Integrals(
            self.cpu_ns + other.cpu_ns,
            self.memory_byte_ns2 + other.memory_byte_ns2,
            self.gpu_memory_byte_ns2 + other.gpu_memory_byte_ns2,
            self.gpu_ns + other.gpu_ns,
            {name: self.custom.get(name, 0) + other.custom.get(name, 0) for name in names},
        )

    @property
    def memory_byte_seconds(self) -> float:
        return self.memory_byte_ns2 / 2e9

    @property
    def gpu_memory_byte_seconds(self) -> float:
        return self.gpu_memory_byte_ns2 / 2e9


class Progress(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What the work said about itself through its report block."""

    total_count: int = 0
    completed_count: int = 0
    failed_count: int = 0
    total_size: int = 0
    completed_size: int = 0
    failed_size: int = 0
    status: str = ""
    current_object: str = ""
    ready: bool = False
    custom: dict[str, int] = field(default_factory=dict)


class Usage(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Everything measured of one attempt, as it stood at its end."""

    metrics: Metrics
    integrals: Integrals
    progress: Progress


class Tariff(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Named and versioned prices in tokens; 100 tokens = 1.00 currency in the default one.

    The formulas, in the order of operations of native/metercore/tariff.pyx: both agree to the bit.
    """

    name: str = "default"
    version: int = 1
    per_core_hour: float = 1020.0
    per_gib_hour: float = 100.0
    per_gpu_gib_hour: float = 2140.0
    per_gpu_second: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)
    """Tokens per unit of the work's own counters."""

    @property
    def label(self) -> str:
        """Name and version, as on a bill."""
        return f"{self.name}-{self.version}"

    def cpu_tokens(self, integrals: Integrals) -> float:
        return integrals.cpu_ns * self.per_core_hour / _NS_PER_HOUR

    def memory_tokens(self, integrals: Integrals) -> float:
        return integrals.memory_byte_ns2 * self.per_gib_hour / _BYTE_NS2_PER_GIB_HOUR

    def gpu_memory_tokens(self, integrals: Integrals) -> float:
        return integrals.gpu_memory_byte_ns2 * self.per_gpu_gib_hour / _BYTE_NS2_PER_GIB_HOUR

    def gpu_time_tokens(self, integrals: Integrals) -> float:
        return integrals.gpu_ns * self.per_gpu_second / 1e9

    def custom_tokens(self, integrals: Integrals) -> dict[str, float]:
        """Return the tokens of every counter that has a price, in the order of their UTF-8 bytes."""
        names = sorted(self.custom, key=str.encode)
        return {name: max(integrals.custom.get(name, 0), 0) * self.custom[name] for name in names}

    def total_tokens(self, integrals: Integrals) -> float:
        """Return the sum of all parts, none of them rounded before."""
        total = self.cpu_tokens(integrals) + self.memory_tokens(integrals)
        total = total + self.gpu_memory_tokens(integrals) + self.gpu_time_tokens(integrals)
        for tokens in self.custom_tokens(integrals).values():
            total += tokens
        return total
