"""Declarations of crc32c.h."""

from libc.stdint cimport uint32_t


cdef extern from "metercore/_c/crc32c.h" nogil:
    void tm_crc32c_fill()
    uint32_t tm_crc32c(const void *data, size_t size)
