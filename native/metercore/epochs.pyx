# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
"""The highest value of late, in two alternating epochs: readers reset nothing, so any number of them agree."""

from libc.math cimport INFINITY, isfinite
from libc.stdint cimport uint64_t


cdef void c_epochs_start(c_Epochs *epochs, uint64_t span_ns) noexcept nogil:
    epochs.span_ns = span_ns
    epochs.start_ns = 0
    epochs.present = -INFINITY
    epochs.previous = -INFINITY


cdef void c_epochs_turn(c_Epochs *epochs, uint64_t now_ns) noexcept nogil:
    """Begin the epoch that contains `now_ns`. Epochs follow each other without gaps, whenever somebody looks."""
    cdef uint64_t count
    if now_ns < epochs.start_ns or now_ns - epochs.start_ns < epochs.span_ns:
        return
    count = (now_ns - epochs.start_ns) // epochs.span_ns
    epochs.previous = epochs.present if count == 1 else -INFINITY
    epochs.present = -INFINITY
    epochs.start_ns += count * epochs.span_ns


cdef void c_epochs_update(c_Epochs *epochs, uint64_t now_ns, double value) noexcept nogil:
    """Account a finite value."""
    c_epochs_turn(epochs, now_ns)
    if epochs.present == -INFINITY and epochs.previous == -INFINITY:
        epochs.start_ns = now_ns
    if value > epochs.present:
        epochs.present = value


cdef bint c_epochs_now(const c_Epochs *epochs, uint64_t now_ns, double *highest) noexcept nogil:
    """The highest value of the present epoch and the one before; 0 if neither has any."""
    cdef c_Epochs now = epochs[0]
    c_epochs_turn(&now, now_ns)
    highest[0] = max(now.present, now.previous)
    return highest[0] > -INFINITY


cdef class WindowPeak:
    """Keep the highest value over at least the last `span_seconds` and less than twice that.

    Time is cut into epochs of span_seconds from the first value on, or the first after a silence; the answer is the maximum of
    the present epoch and the one before. Two readers at any pace see the same, since neither resets anything. Raises
    ValueError unless span_seconds is 0.001 to 1e9.

    >>> peak = WindowPeak(span_seconds=60.0)
    >>> peak.update(0, 5.0)
    >>> peak.update(70 * 10**9, 2.0)
    >>> peak.highest(70 * 10**9), peak.highest(120 * 10**9), peak.highest(180 * 10**9)
    (5.0, 2.0, None)
    """

    def __cinit__(self, double span_seconds=60.0):
        if not 0.001 <= span_seconds <= 1e9:
            raise ValueError("span_seconds must be 0.001 to 1e9")
        c_epochs_start(&self.c, <uint64_t>(span_seconds * 1e9))

    def update(self, uint64_t now_ns, double value):
        """Account `value` at monotonic time `now_ns`; a time before the present epoch counts as in it.

        Raises ValueError unless value is finite.
        """
        if not isfinite(value):
            raise ValueError("value must be finite")
        c_epochs_update(&self.c, now_ns, value)

    def highest(self, uint64_t now_ns):
        """Return the highest value of late, or None if there was none in that time."""
        cdef double highest
        return highest if c_epochs_now(&self.c, now_ns, &highest) else None
