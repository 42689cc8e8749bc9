from libc.stdint cimport int64_t, uint64_t

cdef uint64_t c_monotonic_ns() noexcept nogil
cdef uint64_t c_boottime_ns() noexcept nogil
cdef int64_t c_realtime_ns() noexcept nogil
cdef uint64_t c_thread_cpu_ns() noexcept nogil
