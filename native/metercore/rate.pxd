from libc.stdint cimport uint64_t

cdef struct c_Rate:
    double per_tau      # 1 / tau, per second
    double value        # EWMA of the instantaneous rate, biased towards its start at 0
    double weight       # the same recursion over a constant 1; value / weight has no bias
    double pending      # amount that waits for an interval of at least 1 ms
    uint64_t last_ns    # 0 = no sample yet

cdef void c_rate_start(c_Rate *rate, double tau_seconds) noexcept nogil
cdef void c_rate_update(c_Rate *rate, uint64_t now_ns, double amount) noexcept nogil
cdef double c_rate_exact(const c_Rate *rate) noexcept nogil
cdef double c_rate_now(const c_Rate *rate) noexcept nogil
cdef double c_rate_at(const c_Rate *rate, uint64_t now_ns) noexcept nogil

cdef class Rate:
    cdef c_Rate c
