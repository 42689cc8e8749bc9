# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel counters that may start anew or wrap around: what they grew by, never a negative amount."""

from libc.stdint cimport UINT64_MAX, uint64_t


cdef uint64_t c_counter_update(c_Counter *counter, uint64_t value) noexcept nogil:
    """Account a reading; what it grew by, 0 for the first and for one that fell. Zeroed memory is a new counter."""
    cdef uint64_t delta = 0
    if counter.begun and value >= counter.last:
        delta = min(value - counter.last, UINT64_MAX - counter.total)
    elif counter.begun:
        counter.reset_count += 1
    counter.begun = 1
    counter.last = value
    counter.total += delta
    return delta


cdef class Counter:
    """Follow a counter that grows, except when it starts anew.

    A reading below the last one is a reset or a wrap, which cannot be told apart; it counts as no growth, because a guess of
    what was missed would be billed. The total is thus a lower bound, exact without resets, and never falls; it ends at
    2**64 - 1.

    >>> counter = Counter()
    >>> [counter.update(value) for value in (100, 150, 3, 10)]
    [0, 50, 0, 7]
    >>> counter.total, counter.reset_count
    (57, 1)
    """

    def update(self, uint64_t value):
        """Account a reading and return what it grew by; the first call only sets where it starts."""
        return c_counter_update(&self.c, value)

    @property
    def total(self):
        """The sum of what it grew by."""
        return self.c.total

    @property
    def reset_count(self):
        """How often it fell."""
        return self.c.reset_count
