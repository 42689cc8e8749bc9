"""What a task used: metrics as last seen, integrals as billed, progress as reported. Unmeasurable is `None`, never 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


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


@dataclass(frozen=True, slots=True)
class Metrics:
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


@dataclass(frozen=True, slots=True)
class Integrals:
    """Use integrated over time, in integers only; the bill is computed from these, never from rounded parts."""

    cpu_ns: int = 0
    memory_byte_ns2: int = 0
    """Doubled trapezoid (m0 + m1)·dt in byte-nanoseconds."""

    def __add__(self, other: Integrals) -> Integrals:
        return Integrals(self.cpu_ns + other.cpu_ns, self.memory_byte_ns2 + other.memory_byte_ns2)

    @property
    def memory_byte_seconds(self) -> float:
        return self.memory_byte_ns2 / 2e9


@dataclass(frozen=True, slots=True)
class Progress:
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


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything measured of one attempt, as it stood at its end."""

    metrics: Metrics
    integrals: Integrals
    progress: Progress


@dataclass(frozen=True, slots=True)
class Tariff:
    """Named prices in tokens: the default is 1020 per core-hour and 100 per GiB-hour; 100 tokens = 1.00 currency."""

    name: str = "default-1"
    per_core_hour: float = 1020.0
    per_gib_hour: float = 100.0

    def cpu_tokens(self, integrals: Integrals) -> float:
        return integrals.cpu_ns * self.per_core_hour / 3600e9

    def memory_tokens(self, integrals: Integrals) -> float:
        return integrals.memory_byte_ns2 * self.per_gib_hour / (2.0 * 3600e9 * 2**30)
