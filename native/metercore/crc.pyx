# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CRC-32 as in IEEE 802.3 and zlib: reflected polynomial 0xEDB88320, start and end inverted. And CRC-32C, of RFC 3720."""

from libc.stdint cimport uint8_t, uint32_t

from metercore._c.crc32c cimport tm_crc32c, tm_crc32c_fill

cdef uint32_t[256] c_table


cdef void c_fill_table() noexcept nogil:
    cdef uint32_t value
    cdef int n
    cdef int _bit
    for n in range(256):
        value = <uint32_t>n
        for _bit in range(8):
            value = (value >> 1) ^ (0xEDB88320u if value & 1 else 0u)
        c_table[n] = value


c_fill_table()
tm_crc32c_fill()


cdef uint32_t c_crc32(const void *data, size_t size) noexcept nogil:
    cdef const uint8_t *bytes_ = <const uint8_t *>data
    cdef uint32_t value = 0xFFFFFFFFu
    cdef size_t n
    for n in range(size):
        value = (value >> 8) ^ c_table[(value ^ bytes_[n]) & 0xFF]
    return value ^ 0xFFFFFFFFu


def crc32(const uint8_t[::1] data not None):
    """Return the CRC-32 of a contiguous buffer."""
    return c_crc32(&data[0], <size_t>data.shape[0]) if data.shape[0] else 0


cdef uint32_t c_crc32c(const void *data, size_t size) noexcept nogil:
    return tm_crc32c(data, size)


def crc32c(const uint8_t[::1] data not None):
    """Return the CRC-32C of a contiguous buffer."""
    return c_crc32c(&data[0], <size_t>data.shape[0]) if data.shape[0] else 0
