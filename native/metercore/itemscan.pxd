from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

# What was found, in the order in which it is to be told. Records lie whole and repaired in `data`.
cdef struct c_Found:
    char *data
    size_t room              # of the data
    size_t used
    uint32_t *starts         # per event: where its record is in the data
    uint8_t *kinds           # per event: EventKind
    size_t count
    size_t most              # events there is room for
    uint64_t bad_count       # runs of bytes that are no records, and records that say nothing
    uint64_t dropped_count

# How far a segment has been looked through.
cdef struct c_Scan:
    uint64_t place           # everything before it is done with
    bint lost                # among bytes that are no records: looking for the next that is
    uint32_t miss_count      # records that had everything but the right CRC

cdef int c_found_open(c_Found *found, size_t room) noexcept nogil
cdef void c_found_free(c_Found *found) noexcept nogil
cdef size_t c_scan(c_Found *found, c_Scan *scan, size_t size, uint64_t limit) noexcept nogil
