"""CPU use in cores over windows of at least 100 ms, and its peak."""

class Peak:
    """Turn a growing CPU total into cores in use, now and at most.

    Cores = CPU time ÷ wall time over a window; windows shorter than 100 ms merge into the next, because the kernel brings
    running totals up to date at its ticks only (update_curr in kernel/sched/fair.c), 1 to 10 ms apart. `most_cores` bounds
    both: more than the machine has is noise of that accounting. Raises ValueError unless it is greater than 0.

    >>> peak = Peak(most_cores=8.0)
    >>> for second, cpu_seconds in enumerate([0, 2, 2.5]):
    ...     closed = peak.update(second * 10**9, int(cpu_seconds * 10**9))
    >>> peak.cores, round(peak.peak_cores, 6)
    (0.5, 2.0)
    """

    def __init__(self, most_cores: float = ...) -> None: ...
    def update(self, now_ns: int, cpu_ns: int, gap: bool = False) -> bool:
        """Account the total `cpu_ns` at monotonic time `now_ns`; a `gap` shows in the current value, not in the peak.

        Return whether that closed a window. A total that fell counts as no use, a time before the last as no time.
        """
    @property
    def cores(self) -> float:
        """Cores in use over the last closed window."""
    @property
    def peak_cores(self) -> float:
        """The highest value of `cores` so far, gaps left out."""
