"""The machine as a whole: processors, memory, swap, pressure, load and processes."""

from typing import NamedTuple

class SystemReading(NamedTuple):
    """What is known of the machine at one moment. Not measurable is None."""

    cpu_percent: float | None
    """Of all processors together, since the sample before: 100 = none of them was idle or waited for storage.

    None while not one tick of 10 ms has passed.
    """
    cpu_cores: float | None
    """The same in cores."""
    online_count: int | None
    """How many processors are online."""
    cpu_percent_by_processor: dict[int, float]
    """Without those that were not online, or for which no tick has passed, since the sample before."""
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    """The kernel's estimate of what can be had without swapping."""
    memory_used_bytes: int | None
    """What is not available."""
    swap_total_bytes: int | None
    swap_used_bytes: int | None
    cpu_pressure_percent: float | None
    """Share of the last 10 s in which some thread waited for a processor (PSI some avg10)."""
    memory_pressure_percent: float | None
    io_pressure_percent: float | None
    load_1_minute: float | None
    load_5_minutes: float | None
    load_15_minutes: float | None
    process_count: int | None
    """Of those that can be seen: a procfs with hidepid shows our own only."""
    thread_count: int | None
    """Those of the kernel included."""

class SystemMeter:
    """Meter the machine: `sample` gives CPU use since the last sample, the first one since the meter was made.

    `proc` is where procfs is mounted. Raises OSError when that is no directory; a file that is missing or malformed there, and
    what a kernel does not keep, is None.

    >>> meter = SystemMeter()
    >>> reading = meter.sample()
    >>> 0 < reading.memory_used_bytes < reading.memory_total_bytes
    True
    """

    def __init__(self, *, proc: str = "/proc") -> None: ...
    def sample(self) -> SystemReading:
        """Look at the machine now."""
