"""The history of an attempt as it is recorded: one sample a second into rings of 1 s, 10 s, 60 s, 15 min and 2 h.

Adding is memory work only. What is complete is written every ten seconds of the attempt's age, so attempts that started at
different times write at different times. Steps are counted from the first sample on a clock that never goes back: the
wall clock, or what the monotonic clock makes of it while that is set back.
"""

import os

from metercore.historyfile import HistoryPoint

class History:
    """Record a history in an attempt directory, as the sampler does for each of its slots.

    Goes on from the file if there is one; the time since its last point is a gap. Means over a second spread what a sample
    adds evenly over the time since the sample before.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None: ...
    def add(
        self,
        realtime_ns: int,
        monotonic_ns: int,
        cpu_ns: int,
        memory_bytes: int,
        *,
        gpu_memory_bytes: int | None = None,
        gpu_utilization_percent: float | None = None,
        rate_count_per_second: float = 0.0,
        rate_size_per_second: float = 0.0,
        most_cores: float = ...,
        gap: bool = False,
    ) -> None:
        """Account the totals as of both clocks; the first call says from where on.

        Memory is integrated by the trapezoid rule, GPU values and rates hold for the time before the sample. A `gap` leaves that
        time out, as do a wall clock that was set forward (or a machine that slept: 0.5 s or more) and 300 s without a sample.
        """
    def note(self, cores: float, memory_bytes: int = 0) -> None:
        """Let the next sample know of higher values in between."""
    def flush(self) -> None:
        """Write what is not written yet; nothing while it lasts under a second."""
    def read(
        self, from_time: float = 0.0, to_time: float = 0.0, resolution_seconds: float = 0.0
    ) -> tuple[float, list[HistoryPoint]]:
        """Return what `read_history` does, with what is not written yet."""
