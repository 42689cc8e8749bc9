"""Protobuf's encoding, field by field: https://protobuf.dev/programming-guides/encoding/

Inline, and therefore here: a call through another module's table would cost as much as a field.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef inline uint8_t *c_varint(uint8_t *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1


cdef inline size_t c_varint_bytes(uint64_t value) noexcept nogil:
    cdef size_t size = 1
    while value >= 0x80:
        size += 1
        value >>= 7
    return size


cdef inline uint8_t *c_tag(uint8_t *at, int number, int kind) noexcept nogil:
    return c_varint(at, <uint64_t>((number << 3) | kind))


cdef inline uint8_t *c_set_double(uint8_t *at, int number, double value) noexcept nogil:
    at = c_tag(at, number, 1)
    memcpy(at, &value, 8)
    return at + 8


cdef inline uint8_t *c_double(uint8_t *at, int number, double value) noexcept nogil:
    """A field with implicit presence is left out when it is zero, where -0.0 is not zero."""
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return c_set_double(at, number, value) if bits != 0 else at


cdef inline uint8_t *c_set_text(uint8_t *at, int number, const char *text, size_t size) noexcept nogil:
    at = c_varint(c_tag(at, number, 2), size)
    memcpy(at, text, size)
    return at + size


cdef inline uint8_t *c_text(uint8_t *at, int number, const char *text, size_t size) noexcept nogil:
    return c_set_text(at, number, text, size) if size != 0 else at


cdef inline uint8_t *c_nested(uint8_t *at, int number, const uint8_t *body, size_t size) noexcept nogil:
    return c_set_text(at, number, <const char *>body, size)
