from libc.stdint cimport uint64_t

cdef struct c_Peak:
    uint64_t window_start_ns  # 0 = no window yet
    uint64_t window_start_total_ns
    double now_cores
    double peak_cores
    bint has_gap              # in the present window

cdef bint c_peak_update(c_Peak *peak, uint64_t now_ns, uint64_t cpu_ns, double most_cores, bint gap) noexcept nogil

cdef class Peak:
    cdef c_Peak c
    cdef double most_cores
