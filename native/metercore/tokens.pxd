from libc.stdint cimport uint64_t

cdef struct c_Integral:
    uint64_t low        # the doubled integral, 128 bits
    uint64_t high
    uint64_t last_ns
    uint64_t last_value
    bint begun

cdef void c_add_product(uint64_t *low, uint64_t *high, uint64_t a, uint64_t b) noexcept nogil
cdef void c_add_wide(uint64_t *low, uint64_t *high, uint64_t more_low, uint64_t more_high) noexcept nogil
cdef void c_add_trapezoid(uint64_t *low, uint64_t *high, uint64_t m0, uint64_t m1, uint64_t span_ns) noexcept nogil
cdef double c_wide_double(uint64_t low, uint64_t high) noexcept nogil
cdef object c_wide_int(uint64_t low, uint64_t high)
cdef int c_int_wide(object value, uint64_t *low, uint64_t *high) except -1

cdef void c_integral_update(c_Integral *integral, uint64_t now_ns, uint64_t value) noexcept nogil
cdef void c_integral_hold(c_Integral *integral, uint64_t now_ns) noexcept nogil

cdef class Tokens:
    cdef uint64_t total_cpu_ns
    cdef uint64_t total_gpu_ns
    cdef c_Integral memory
    cdef c_Integral gpu_memory
    cdef dict totals
