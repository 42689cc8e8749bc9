# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
"""Rates per second over irregular intervals: an exponentially weighted moving average without start-up bias."""

from libc.math cimport expm1
from libc.stdint cimport uint64_t

# Shorter intervals merge into the next: clock granularity and scheduling would dominate amount / interval.
cdef uint64_t SHORTEST_NS = 1000000
# Below this a rate is published as 0, so that a task that stopped working stops changing (one item in 200 s).
cdef double SMALLEST_PER_SECOND = 0.005


cdef void c_rate_start(c_Rate *rate, double tau_seconds) noexcept nogil:
    rate.tau_seconds = tau_seconds
    rate.value = 0.0
    rate.weight = 0.0
    rate.pending = 0.0
    rate.last_ns = 0


cdef void c_rate_update(c_Rate *rate, uint64_t now_ns, double amount) noexcept nogil:
    """Account `amount` since the last update; the first only sets the clock, since its interval is unknown."""
    cdef double seconds, alpha
    if rate.last_ns == 0:
        rate.last_ns = now_ns
        return
    rate.pending += amount
    if now_ns < rate.last_ns + SHORTEST_NS:
        return
    seconds = <double>(now_ns - rate.last_ns) * 1e-9
    alpha = -expm1(-seconds / rate.tau_seconds)
    rate.value += alpha * (rate.pending / seconds - rate.value)
    rate.weight += alpha * (1.0 - rate.weight)
    rate.pending = 0.0
    rate.last_ns = now_ns


cdef double c_rate_now(const c_Rate *rate) noexcept nogil:
    cdef double now
    if rate.weight <= 0.0:
        return 0.0
    now = rate.value / rate.weight
    return now if now >= SMALLEST_PER_SECOND else 0.0


cdef class Rate:
    """Estimate a rate per second from amounts at irregular times.

    alpha = 1 - exp(-dt / tau) weighs each interval by its length (A. Eckner, "Algorithms for unevenly spaced time series:
    moving averages and other rolling operators", 2019); dividing by the same recursion over a constant 1 removes the bias
    towards the start at 0 (as in D. Kingma, J. Ba, "Adam", 2015, section 3). Decays when nothing happens.
    """

    def __cinit__(self, double tau_seconds=5.0):
        if not tau_seconds > 0.0:
            raise ValueError("tau_seconds must be greater than 0")
        c_rate_start(&self.c, tau_seconds)

    def update(self, uint64_t now_ns, double amount):
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        Intervals under 1 ms merge into the next. A time before the last counts as no time.
        """
        c_rate_update(&self.c, now_ns, amount)

    @property
    def per_second(self):
        """The rate now; below 0.005 it is 0.0."""
        return c_rate_now(&self.c)
