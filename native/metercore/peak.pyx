# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CPU use in cores over windows of at least 100 ms, and its peak."""

from libc.stdint cimport uint64_t

# The kernel brings CPU totals up to date at its ticks (1 to 10 ms apart), so a full burner reads 95–104 % in 50 ms windows.
cdef uint64_t WINDOW_NS = 100000000


cdef bint c_peak_update(c_Peak *peak, uint64_t now_ns, uint64_t cpu_ns, double most_cores, bint gap) noexcept nogil:
    """Account the CPU total at `now_ns`; true when that closed a window. A total that fell counts as no use."""
    cdef double cores
    if peak.window_start_ns == 0:
        peak.window_start_ns = now_ns if now_ns > 0 else 1
        peak.window_start_total_ns = cpu_ns
        return 0
    if now_ns < peak.window_start_ns or now_ns - peak.window_start_ns < WINDOW_NS:
        peak.has_gap |= gap
        return 0
    cores = 0.0
    if cpu_ns > peak.window_start_total_ns:
        cores = <double>(cpu_ns - peak.window_start_total_ns) / <double>(now_ns - peak.window_start_ns)
    if cores > most_cores:
        cores = most_cores
    peak.now_cores = cores
    if cores > peak.peak_cores and not gap and not peak.has_gap:
        peak.peak_cores = cores
    peak.has_gap = 0
    peak.window_start_ns = now_ns
    peak.window_start_total_ns = cpu_ns
    return 1


cdef class Peak:
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

    def __cinit__(self, double most_cores=float("inf")):
        if not most_cores > 0.0:
            raise ValueError("most_cores must be greater than 0")
        self.most_cores = most_cores

    def update(self, uint64_t now_ns, uint64_t cpu_ns, bint gap=False):
        """Account the total `cpu_ns` at monotonic time `now_ns`; a `gap` shows in the current value, not in the peak.

        Return whether that closed a window. A total that fell counts as no use, a time before the last as no time.
        """
        return bool(c_peak_update(&self.c, now_ns, cpu_ns, self.most_cores, gap))

    @property
    def cores(self):
        """Cores in use over the last closed window."""
        return self.c.now_cores

    @property
    def peak_cores(self):
        """The highest value of `cores` so far, gaps left out."""
        return self.c.peak_cores
