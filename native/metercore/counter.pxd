from libc.stdint cimport uint64_t

cdef struct c_Counter:
    uint64_t last
    uint64_t total
    uint64_t reset_count
    bint begun

cdef uint64_t c_counter_update(c_Counter *counter, uint64_t value) noexcept nogil

cdef class Counter:
    cdef c_Counter c
