"""CPU use in cores over windows of at least 100 ms, and its peak."""

class Peak:
    """Turn a growing CPU total into cores in use, now and at most.

    Cores = CPU time ÷ wall time over a window; windows shorter than 100 ms merge into the next. `most_cores` bounds both:
    more than the machine has is noise of the kernel's accounting.
    """

    def __init__(self, most_cores: float = ...) -> None: ...
    def update(self, now_ns: int, cpu_ns: int, gap: bool = False) -> bool:
        """Account the total `cpu_ns` at monotonic time `now_ns`; a `gap` shows in the current value, not in the peak.

        Return whether that closed a window. A total that fell counts as no use.
        """
    @property
    def cores(self) -> float:
        """Cores in use over the last closed window."""
    @property
    def peak_cores(self) -> float:
        """The highest value of `cores` so far, gaps left out."""
