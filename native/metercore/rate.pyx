# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
"""Rates per second over irregular intervals: an exponentially weighted moving average without start-up bias."""

from libc.math cimport expm1
from libc.stdint cimport uint64_t

# Shorter intervals merge into the next: clock granularity and scheduling would dominate amount / interval.
cdef uint64_t SHORTEST_NS = 1000000
# Below this a rate is published as 0, so that a task that stopped working stops changing (one item in 200 s).
cdef double SMALLEST_PER_SECOND = 0.005
# Far below that an average that decays would end in denormal numbers, which processors compute many times slower.
cdef double NOTHING = 1e-100
# What a 64-bit counter can grow by; over 1 ms its rate, 2e22, is far from the end of double.
cdef double MOST = 18446744073709551616.0


cdef void c_rate_start(c_Rate *rate, double tau_seconds) noexcept nogil:
    rate.per_tau = 1.0 / tau_seconds
    rate.value = 0.0
    rate.weight = 0.0
    rate.pending = 0.0
    rate.last_ns = 0


cdef void c_rate_update(c_Rate *rate, uint64_t now_ns, double amount) noexcept nogil:
    """Account `amount` (finite, not negative) since the last update; the first only sets the clock."""
    cdef double seconds, alpha
    if rate.last_ns == 0:
        rate.last_ns = now_ns if now_ns > 0 else 1
        return
    rate.pending += amount
    if now_ns < rate.last_ns or now_ns - rate.last_ns < SHORTEST_NS:
        return
    seconds = <double>(now_ns - rate.last_ns) * 1e-9
    alpha = -expm1(-seconds * rate.per_tau)
    rate.value += alpha * (rate.pending / seconds - rate.value)
    rate.weight += alpha * (1.0 - rate.weight)
    rate.pending = 0.0
    rate.last_ns = now_ns
    if rate.value < NOTHING:
        rate.value = 0.0


cdef double c_rate_exact(const c_Rate *rate) noexcept nogil:
    """The debiased average as of the last update, however small."""
    return rate.value / rate.weight if rate.weight > 0.0 else 0.0


cdef double c_rate_now(const c_Rate *rate) noexcept nogil:
    """The rate to publish, as of the last update."""
    cdef double now = c_rate_exact(rate)
    return now if now >= SMALLEST_PER_SECOND else 0.0


cdef double c_rate_at(const c_Rate *rate, uint64_t now_ns) noexcept nogil:
    """The rate to publish if nothing more has happened up to `now_ns`."""
    cdef c_Rate later = rate[0]
    c_rate_update(&later, now_ns, 0.0)
    return c_rate_now(&later)


cdef class Rate:
    """Estimate a rate per second from amounts at irregular times.

    alpha = 1 - exp(-dt / tau) weighs each interval by its length (A. Eckner, "Algorithms for unevenly spaced time series:
    moving averages and other rolling operators", 2019); dividing by the same recursion over a constant 1 removes the bias
    towards the start at 0 (as in D. Kingma, J. Ba, "Adam", 2015, section 3). Decays when nothing happens. Raises ValueError
    unless tau_seconds is 0.001 to 1e9.

    >>> rate = Rate(tau_seconds=5.0)
    >>> for second in range(10):
    ...     rate.update(second * 10**9, 30)
    >>> round(rate.per_second, 6)
    30.0
    >>> round(rate.at(14 * 10**9), 1)  # after 5 s of nothing
    9.8
    """

    def __cinit__(self, double tau_seconds=5.0):
        if not 0.001 <= tau_seconds <= 1e9:
            raise ValueError("tau_seconds must be 0.001 to 1e9")
        c_rate_start(&self.c, tau_seconds)

    def update(self, uint64_t now_ns, double amount):
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        Intervals under 1 ms merge into the next, and so does a time before the last. Raises ValueError unless amount is
        0 to 2**64.
        """
        if not 0.0 <= amount <= MOST:
            raise ValueError("amount must be 0 to 2**64")
        c_rate_update(&self.c, now_ns, amount)

    def at(self, uint64_t now_ns):
        """Return the rate at `now_ns` if nothing has happened since the last update."""
        return c_rate_at(&self.c, now_ns)

    @property
    def per_second(self):
        """The rate as of the last update; below 0.005 it is 0.0."""
        return c_rate_now(&self.c)
