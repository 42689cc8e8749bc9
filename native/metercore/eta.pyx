# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
"""When the work will be done: a 30 s average, with a band between the overall mean and an average that adapts."""

from libc.math cimport fabs, isfinite
from libc.stdint cimport uint64_t

from metercore.rate cimport c_rate_exact, c_rate_start, c_rate_update

cdef double TAU_SECONDS = 30.0
cdef uint64_t FEWEST_SAMPLES = 3
cdef uint64_t SHORTEST_NS = 2000000000
# Growth within this time is one sample: clock granularity and scheduling would dominate amount / interval.
cdef uint64_t SAMPLE_NS = 1000000
# No growth for this long, or for ten mean gaps if that is longer, is a stall: then there is no honest estimate.
cdef double STALL_SECONDS = 10.0
cdef double STALL_GAPS = 10.0
# Smoothing of the forecast errors, the value Trigg and Leach recommend.
cdef double ERROR_WEIGHT = 0.2


cdef void c_eta_start(c_Eta *eta) noexcept nogil:
    eta.start_ns = 0
    eta.last_move_ns = 0
    eta.start_done = 0.0
    eta.last_done = 0.0
    eta.done = 0.0
    eta.smooth = 0.0
    eta.error = 0.0
    eta.absolute_error = 0.0
    eta.sample_count = 0
    c_rate_start(&eta.rate, TAU_SECONDS)


cdef void c_eta_update(c_Eta *eta, uint64_t now_ns, double done) noexcept nogil:
    """Account that `done` (finite, not negative) is reached. What fell is work that began anew."""
    cdef double amount, seconds, miss, weight
    if eta.start_ns == 0 or done < eta.done:
        c_eta_start(eta)
        eta.start_ns = eta.last_move_ns = now_ns if now_ns > 0 else 1
        eta.start_done = eta.last_done = eta.done = done
        c_rate_update(&eta.rate, eta.start_ns, 0.0)
        return
    eta.done = done
    amount = done - eta.last_done
    if amount <= 0.0 or now_ns < eta.last_move_ns or now_ns - eta.last_move_ns < SAMPLE_NS:
        return
    # From growth to growth: an average that saw the ticks between would fall between two slow items and jump at each.
    c_rate_update(&eta.rate, now_ns, amount)
    seconds = <double>(now_ns - eta.last_move_ns) * 1e-9
    if eta.sample_count == 0:
        eta.smooth = amount / seconds
    else:
        miss = amount / seconds - eta.smooth
        eta.error += ERROR_WEIGHT * (miss - eta.error)
        eta.absolute_error += ERROR_WEIGHT * (fabs(miss) - eta.absolute_error)
        weight = fabs(eta.error) / eta.absolute_error if eta.absolute_error > 0.0 else 0.0
        eta.smooth += weight * miss
    eta.sample_count += 1
    eta.last_done = done
    eta.last_move_ns = now_ns


cdef double c_quiet_seconds(const c_Eta *eta, uint64_t now_ns) noexcept nogil:
    return <double>(now_ns - eta.last_move_ns) * 1e-9 if now_ns > eta.last_move_ns else 0.0


cdef double c_mean_gap(const c_Eta *eta) noexcept nogil:
    """Seconds from one growth to the next, on average; only after the first."""
    return <double>(eta.last_move_ns - eta.start_ns) * 1e-9 / <double>eta.sample_count


cdef bint c_eta_stalled(const c_Eta *eta, uint64_t now_ns) noexcept nogil:
    """Before the first growth nothing is known of the pace: the first item may be a slow one, not a stall."""
    cdef double quiet = c_quiet_seconds(eta, now_ns)
    return eta.sample_count > 0 and quiet > STALL_SECONDS and quiet > STALL_GAPS * c_mean_gap(eta)


cdef void c_eta_now(const c_Eta *eta, uint64_t now_ns, double total, c_EtaBand *band) noexcept nogil:
    cdef double left = total - eta.done
    cdef double recent, mean, lowest, highest, quiet, gap
    band.known = 0
    band.seconds = band.low_seconds = band.high_seconds = 0.0
    if total <= 0.0 or eta.start_ns == 0:
        return
    if left <= 0.0:
        band.known = 1
        return
    if eta.sample_count < FEWEST_SAMPLES or now_ns < eta.start_ns or now_ns - eta.start_ns < SHORTEST_NS:
        return
    recent = c_rate_exact(&eta.rate)
    if recent <= 0.0 or c_eta_stalled(eta, now_ns):
        return
    mean = (eta.last_done - eta.start_done) / (<double>(now_ns - eta.start_ns) * 1e-9)
    lowest = min(recent, mean)
    highest = max(recent, mean)
    if eta.smooth > 0.0:
        lowest = min(lowest, eta.smooth)
        highest = max(highest, eta.smooth)
    # The longer the next growth is overdue, the slower the work may have become.
    quiet = c_quiet_seconds(eta, now_ns)
    gap = c_mean_gap(eta)
    if quiet > gap:
        lowest = min(lowest, recent * gap / quiet)
    band.seconds = left / recent
    band.low_seconds = left / highest
    band.high_seconds = left / lowest
    band.known = isfinite(band.high_seconds) != 0


cdef class Eta:
    """Estimate the seconds until `done` reaches a total.

    The estimate divides what is left by a debiased 30 s average of the rate (see `metercore.rate`) from growth to growth. The
    band spans that, the overall mean, and an average whose weight adapts to its own forecast errors (D. Trigg, A. Leach,
    "Exponential smoothing with an adaptive response rate", Operational Research Quarterly 18, 1967); it widens while the
    next growth is overdue. Nothing before 3 samples, nor before 2 s, nor while stalled.

    >>> eta = Eta()
    >>> for second in range(6):
    ...     eta.update(second * 10**9, 20 * second)
    >>> [round(seconds, 6) for seconds in eta.remaining(5 * 10**9, total=200)]
    [5.0, 5.0, 5.0]
    >>> eta.is_stalled(15 * 10**9), eta.is_stalled(16 * 10**9)
    (False, True)
    """

    def __cinit__(self):
        c_eta_start(&self.c)

    def update(self, uint64_t now_ns, double done):
        """Account that `done` is reached at monotonic time `now_ns`; a fall starts the estimate anew.

        Growth within 1 ms is one sample. A time before the last counts as no time. Raises ValueError unless done is finite
        and at least 0.
        """
        if not (isfinite(done) and done >= 0.0):
            raise ValueError("done must be finite and at least 0")
        c_eta_update(&self.c, now_ns, done)

    def remaining(self, uint64_t now_ns, double total):
        """Return (seconds, low_seconds, high_seconds), or None when there is no honest estimate.

        The total may change from call to call; what is done or more than done takes 0.0, a total of 0 is not known yet.
        Raises ValueError unless total is finite and at least 0.
        """
        cdef c_EtaBand band
        if not (isfinite(total) and total >= 0.0):
            raise ValueError("total must be finite and at least 0")
        c_eta_now(&self.c, now_ns, total, &band)
        return (band.seconds, band.low_seconds, band.high_seconds) if band.known else None

    def is_stalled(self, uint64_t now_ns):
        """Tell whether nothing was done for 10 s and for 10 mean gaps.

        Needs no total, and does not know one: work that is done stands still too. False before the first growth.
        """
        return bool(c_eta_stalled(&self.c, now_ns))
