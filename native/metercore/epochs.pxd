from libc.stdint cimport uint64_t

cdef struct c_Epochs:
    uint64_t span_ns
    uint64_t start_ns   # of the present epoch, once there is a value
    double present      # highest value of the present epoch; -inf = none
    double previous     # and of the one before

cdef void c_epochs_start(c_Epochs *epochs, uint64_t span_ns) noexcept nogil
cdef void c_epochs_update(c_Epochs *epochs, uint64_t now_ns, double value) noexcept nogil
cdef bint c_epochs_now(const c_Epochs *epochs, uint64_t now_ns, double *highest) noexcept nogil

cdef class WindowPeak:
    cdef c_Epochs c
