# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
"""When the work will be done: a 30 s average, with a band between the overall mean and an average that adapts."""

from libc.math cimport fabs
from libc.stdint cimport uint64_t

from metercore.rate cimport c_rate_start, c_rate_update

cdef double TAU_SECONDS = 30.0
cdef uint64_t FEWEST_SAMPLES = 3
cdef uint64_t SHORTEST_NS = 2000000000
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
    eta.smooth = 0.0
    eta.error = 0.0
    eta.absolute_error = 0.0
    eta.sample_count = 0
    c_rate_start(&eta.rate, TAU_SECONDS)


cdef void c_eta_update(c_Eta *eta, uint64_t now_ns, double done) noexcept nogil:
    cdef double amount = done - eta.last_done
    cdef double seconds, miss, weight
    if eta.start_ns == 0 or amount < 0.0:  # the first value, or the work began anew
        c_eta_start(eta)
        eta.start_ns = now_ns
        eta.last_move_ns = now_ns
        eta.start_done = done
        eta.last_done = done
        c_rate_update(&eta.rate, now_ns, 0.0)
        return
    c_rate_update(&eta.rate, now_ns, amount)
    if amount <= 0.0 or now_ns <= eta.last_move_ns:
        return
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


cdef bint c_eta_stalled(const c_Eta *eta, uint64_t now_ns) noexcept nogil:
    cdef double quiet, gap
    if eta.sample_count == 0 or now_ns <= eta.last_move_ns:
        return 0
    quiet = <double>(now_ns - eta.last_move_ns) * 1e-9
    gap = <double>(eta.last_move_ns - eta.start_ns) * 1e-9 / <double>eta.sample_count
    return quiet > STALL_SECONDS and quiet > STALL_GAPS * gap


cdef void c_eta_now(const c_Eta *eta, uint64_t now_ns, double total, c_EtaBand *band) noexcept nogil:
    cdef double left = total - eta.last_done
    cdef double recent, mean, lowest, highest
    band.known = 0
    band.seconds = band.low_seconds = band.high_seconds = 0.0
    if total <= 0.0 or eta.start_ns == 0:
        return
    if left <= 0.0:
        band.known = 1
        return
    if eta.sample_count < FEWEST_SAMPLES or now_ns < eta.start_ns + SHORTEST_NS or c_eta_stalled(eta, now_ns):
        return
    if eta.rate.weight <= 0.0:
        return
    recent = eta.rate.value / eta.rate.weight
    mean = (eta.last_done - eta.start_done) / (<double>(now_ns - eta.start_ns) * 1e-9)
    lowest = highest = recent
    if mean > 0.0:
        lowest = min(lowest, mean)
        highest = max(highest, mean)
    if eta.smooth > 0.0:
        lowest = min(lowest, eta.smooth)
        highest = max(highest, eta.smooth)
    if recent <= 0.0 or lowest <= 0.0:
        return
    band.known = 1
    band.seconds = left / recent
    band.low_seconds = left / highest
    band.high_seconds = left / lowest


cdef class Eta:
    """Estimate the seconds until `done` reaches a total.

    The estimate divides what is left by a debiased 30 s average of the rate. The band spans that, the overall mean, and an
    average whose weight adapts to its own forecast errors (D. Trigg, A. Leach, "Exponential smoothing with an adaptive
    response rate", Operational Research Quarterly 18, 1967). Nothing before 3 samples and 2 s, nor while stalled.
    """

    def __cinit__(self):
        c_eta_start(&self.c)

    def update(self, uint64_t now_ns, double done):
        """Account that `done` is reached at monotonic time `now_ns`; a fall starts the estimate anew."""
        c_eta_update(&self.c, now_ns, done)

    def remaining(self, uint64_t now_ns, double total):
        """Return (seconds, low_seconds, high_seconds), or None when there is no honest estimate."""
        cdef c_EtaBand band
        c_eta_now(&self.c, now_ns, total, &band)
        return (band.seconds, band.low_seconds, band.high_seconds) if band.known else None

    def is_stalled(self, uint64_t now_ns):
        """Tell whether nothing was done for 10 s and for 10 mean gaps."""
        return bool(c_eta_stalled(&self.c, now_ns))
