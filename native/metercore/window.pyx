# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""How much was done over the last seconds: a ring of running totals, interpolated at the window's left edge."""

from libc.stdint cimport UINT64_MAX, int32_t, uint64_t

# As for the average: over less than this, clock granularity and scheduling dominate amount / interval.
cdef uint64_t SHORTEST_NS = 1000000


cdef void c_window_start(c_Window *window, uint64_t span_ns) noexcept nogil:
    window.span_ns = span_ns
    window.slice_ns = span_ns // WINDOW_SLICES
    window.last_ns = 0
    window.total = 0
    window.first = 0
    window.count = 0


cdef const c_Mark *c_mark(const c_Window *window, int32_t n) noexcept nogil:
    """The n-th oldest mark."""
    return &window.marks[(window.first + n) & (WINDOW_MARKS - 1)]


cdef void c_window_update(c_Window *window, uint64_t now_ns, uint64_t amount) noexcept nogil:
    """Account `amount` since the last update; the first only sets the clock. More than 2**64 - 1 in one window is cut."""
    cdef c_Mark *newest
    if window.count > 0:
        now_ns = max(now_ns, window.last_ns)
        while window.count > 1 and now_ns - c_mark(window, 1).time_ns >= window.span_ns:
            window.first = (window.first + 1) & (WINDOW_MARKS - 1)
            window.count -= 1
        window.total += min(amount, UINT64_MAX - (window.total - c_mark(window, 0).total))
    window.last_ns = now_ns
    # A mark too close to the last but one replaces the last. One that is added finds room: were the ring still full, the
    # marks from the third on and the new one would span more than the window, so the oldest would have been dropped above.
    if window.count < 2 or now_ns - c_mark(window, window.count - 2).time_ns > window.slice_ns:
        window.count += 1
    newest = <c_Mark *>c_mark(window, window.count - 1)
    newest.time_ns = now_ns
    newest.total = window.total


cdef double c_window_amount(const c_Window *window, uint64_t now_ns) noexcept nogil:
    """The amount between now_ns - span_ns, or the start, and now_ns."""
    cdef uint64_t edge_ns
    cdef const c_Mark *left
    cdef const c_Mark *right
    cdef int32_t n = 1
    if window.count < 2:
        return 0.0
    now_ns = max(now_ns, window.last_ns)
    edge_ns = now_ns - min(window.span_ns, now_ns)
    if edge_ns <= c_mark(window, 0).time_ns:
        return <double>(window.total - c_mark(window, 0).total)
    while c_mark(window, n).time_ns <= edge_ns:
        n += 1
        if n == window.count:
            return 0.0
    left = c_mark(window, n - 1)
    right = c_mark(window, n)
    return <double>(window.total - right.total) + <double>(right.total - left.total) * (
        <double>(right.time_ns - edge_ns) / <double>(right.time_ns - left.time_ns)
    )


cdef double c_window_per_second(const c_Window *window, uint64_t now_ns) noexcept nogil:
    """The amount ÷ the span, or ÷ the time since the start while that is shorter; 0 in the first millisecond."""
    cdef uint64_t lasted_ns
    if window.count < 2:
        return 0.0
    now_ns = max(now_ns, window.last_ns)
    lasted_ns = min(now_ns - c_mark(window, 0).time_ns, window.span_ns)
    if lasted_ns < min(SHORTEST_NS, window.span_ns):
        return 0.0
    return c_window_amount(window, now_ns) / (<double>lasted_ns * 1e-9)


cdef class RateWindow:
    """Sum up whole amounts over the last `span_seconds`, at irregular times and in constant memory.

    Keeps 64 running totals, and merges intervals where they are shorter than 1/31 of the span; within one interval work is
    taken to be steady, so the total at the left edge is interpolated linearly. Everything else is exact: the error is less
    than the amount in the interval that contains the left edge, which lasts span / 31, or as long as no update came (the
    linear rolling sum of A. Eckner, "Algorithms for unevenly spaced time series", 2019). Raises ValueError unless
    span_seconds is 0.001 to 1e9.

    >>> window = RateWindow(span_seconds=10.0)
    >>> for second in range(60):
    ...     window.update(second * 10**9, 7)
    >>> window.amount(59 * 10**9), window.per_second(59 * 10**9)
    (70.0, 7.0)
    >>> window.per_second(64 * 10**9)  # nothing for 5 s: half the window is empty
    3.5
    """

    def __cinit__(self, double span_seconds=10.0):
        if not 0.001 <= span_seconds <= 1e9:
            raise ValueError("span_seconds must be 0.001 to 1e9")
        c_window_start(&self.c, <uint64_t>(span_seconds * 1e9))

    def update(self, uint64_t now_ns, uint64_t amount):
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        A time before the last counts as the last. A window holds at most 2**64 - 1; what goes beyond is cut.
        """
        c_window_update(&self.c, now_ns, amount)

    def amount(self, uint64_t now_ns):
        """Return how much was done in the span before `now_ns`, or since the first update while that is shorter."""
        return c_window_amount(&self.c, now_ns)

    def per_second(self, uint64_t now_ns):
        """Return that amount per second; 0.0 in the first millisecond."""
        return c_window_per_second(&self.c, now_ns)
