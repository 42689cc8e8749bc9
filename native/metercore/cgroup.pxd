from libc.stdint cimport int32_t, uint64_t

cdef bint c_parse_usage(const char *text, size_t size, uint64_t *cpu_ns) noexcept nogil
cdef bint c_parse_memory_v2(const char *text, size_t size, uint64_t *bytes_) noexcept nogil
cdef bint c_parse_memory_v1(const char *text, size_t size, uint64_t *bytes_) noexcept nogil
cdef bint c_parse_count(const char *text, size_t size, uint64_t *value) noexcept nogil
cdef double c_parse_cpu_max(const char *text, size_t size) noexcept nogil
cdef bint c_parse_io_stat(const char *text, size_t size, uint64_t *read_bytes, uint64_t *write_bytes) noexcept nogil
cdef int32_t c_read_ids(const char *path, int32_t *ids, int32_t room) noexcept nogil
