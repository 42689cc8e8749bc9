"""The meter page of an attempt: two slots with a CRC each, so that what was billed survives any death (layout: _c/meter.h)."""

from typing import TypedDict

class _MeterPage(TypedDict):
    """Fields of struct tm_meter; each wide integral is one int, what is not measurable is None."""

    serial: int
    boot_id: str
    first_monotonic_ns: int
    last_monotonic_ns: int
    last_realtime_ns: int
    cpu_ns: int
    memory_byte_ns2: int
    memory_bytes: int
    peak_memory_bytes: int
    peak_cpu_cores: float
    io_read_bytes: int | None
    io_write_bytes: int | None
    voluntary_switch_count: int | None
    involuntary_switch_count: int | None
    minor_fault_count: int | None
    major_fault_count: int | None
    gpu_memory_byte_ns2: int
    gpu_memory_bytes: int | None
    peak_gpu_memory_bytes: int | None
    gpu_ns: int
    peak_gpu_percent: float | None
    sample_count: int
    cpu_source: int
    memory_source: int
    had_gap: bool

def read_meter(path: str) -> _MeterPage:
    """Return the newest valid slot of a meter page as a dict of its fields. Raises OSError; ENODATA: no slot is valid."""
