from libc.stdint cimport uint32_t

cdef uint32_t c_crc32(const void *data, size_t size) noexcept nogil
cdef uint32_t c_crc32c(const void *data, size_t size) noexcept nogil
