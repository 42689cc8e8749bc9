from libc.stdint cimport uint64_t

from metercore.rate cimport c_Rate

cdef struct c_Eta:
    uint64_t start_ns       # when the first value was seen; 0 = not yet
    uint64_t last_move_ns   # when it last grew
    double start_done
    double last_done        # then
    double done             # now; growth of less than 1 ms waits here
    double smooth           # adaptive EWMA of the rate per second
    double error            # smoothed forecast error, and its absolute value: their ratio is the weight
    double absolute_error
    uint64_t sample_count   # how often it grew
    c_Rate rate

cdef struct c_EtaBand:
    bint known
    double seconds
    double low_seconds
    double high_seconds

cdef void c_eta_start(c_Eta *eta) noexcept nogil
cdef void c_eta_update(c_Eta *eta, uint64_t now_ns, double done) noexcept nogil
cdef bint c_eta_stalled(const c_Eta *eta, uint64_t now_ns) noexcept nogil
cdef void c_eta_now(const c_Eta *eta, uint64_t now_ns, double total, c_EtaBand *band) noexcept nogil

cdef class Eta:
    cdef c_Eta c
