from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

from metercore._c.itemlog cimport tm_item_record

# What all events of a batch have in common, encoded: token, attempt, tags.
cdef struct c_Common:
    const char *data
    size_t size

cdef size_t c_frame_most(const tm_item_record *record, const c_Common *common) noexcept nogil
cdef uint8_t *c_frame(uint8_t *at, const tm_item_record *record, int64_t seq, const c_Common *common) noexcept nogil
