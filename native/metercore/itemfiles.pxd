from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from metercore.itemscan cimport c_Scan

cdef enum:
    # Segments that are looked at together: what is beyond waits until some of them are gone.
    MOST_SEGMENTS = 4096
    NAME_BYTES = 64

cdef struct c_Segment:
    uint64_t pid            # the three numbers of its name
    uint64_t start_ticks
    uint64_t number
    uint64_t limit          # the end of what may be read of it now, never beyond the file
    uint64_t asked_ns       # when its writer was last looked for, CLOCK_MONOTONIC
    c_Scan durable          # as committed
    c_Scan ahead            # as read
    int descriptor          # kept, or -1
    uint32_t look           # the last listing that had it
    bint alien              # no regular file, or another's segment: never read
    bint blocked            # cannot be read just now, nor what comes after it
    bint final              # nothing is added to it any more
    bint finished           # final, and read to its end
    bint gone               # not in the directory any more

# The segments of a directory, in the order of their names.
cdef struct c_Files:
    c_Segment *segments
    size_t count
    size_t room
    uint32_t look
    int64_t changed_ns      # st_ctim of the directory when it was listed; -1 = list again
    uint64_t device
    uint64_t inode
    uint64_t namespaces     # ours

cdef bint c_parse_name(const char *name, c_Segment *result) noexcept nogil
cdef void c_write_name(const c_Segment *segment, char *name) noexcept nogil
cdef bint c_is_one_series(const c_Segment *one, const c_Segment *other) noexcept nogil
cdef void c_files_open(c_Files *files) noexcept nogil
cdef void c_files_close(c_Files *files) noexcept nogil
cdef c_Segment *c_files_add(c_Files *files, const c_Segment *like) noexcept nogil
cdef void c_files_sort(c_Files *files) noexcept nogil
cdef int c_files_list(c_Files *files, int directory) noexcept nogil
cdef void c_files_drop_gone(c_Files *files) noexcept nogil
cdef bint c_writer_is_dead(const c_Segment *segment) noexcept nogil
cdef int c_segment_open(c_Segment *segment, int directory, bint *kept) noexcept nogil
cdef void c_segment_look(c_Files *files, c_Segment *segment, int directory, bint ended) noexcept nogil
