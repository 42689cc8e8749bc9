from libc.stdint cimport uint16_t, uint64_t

from metercore._c.itemlog cimport tm_item_record

cdef enum:
    # Segments that may lie unread; more than TM_ITEMS_UNREAD_BYTES holds of ordinary ones.
    MOST_LEFT = 64

cdef struct c_Text:
    const char *data
    size_t size

# What a record consists of, behind its head, in this order.
cdef struct c_Texts:
    c_Text id
    c_Text stage
    c_Text worker
    c_Text step
    c_Text error
    c_Text metadata

cdef struct c_Left:
    uint64_t number
    uint64_t size_bytes

# The segments of one writer. Whoever calls holds the GIL: nothing here has a lock.
cdef struct c_Series:
    char *directory         # ours, or NULL: everything is dropped
    char *base              # the mapping of the segment that is written, or NULL
    size_t room             # its size
    size_t end              # as published
    uint64_t generation     # of the process that mapped it, see itemseries.pyx
    int pid
    uint64_t start_ticks
    uint64_t namespaces
    uint64_t number         # of the segment that is written
    uint64_t device         # its file
    uint64_t inode
    size_t next_bytes       # size of the next one
    uint64_t retry_ns       # CLOCK_MONOTONIC: not before that is a new one tried
    uint64_t dropped_count  # that the log does not tell yet
    uint64_t dropped_all
    int left_count
    c_Left[MOST_LEFT] left  # closed ones that the daemon had not removed when we last looked

cdef int c_series_open(c_Series *series, const char *directory) noexcept nogil
cdef bint c_series_put(c_Series *series, tm_item_record *head, const c_Texts *texts) noexcept nogil
cdef void c_series_close(c_Series *series) noexcept nogil
cdef void c_series_free(c_Series *series) noexcept nogil
