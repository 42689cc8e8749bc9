from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from metercore.taskprogram cimport c_TaskProgram

cdef struct c_Row:
    int32_t pid
    int32_t ppid
    int32_t thread_count        # living, when the leading thread was read
    int32_t seen_count          # how many are in cpu_ns
    uint64_t start_ticks        # as field 22 of /proc/PID/stat
    uint64_t cpu_ns
    uint64_t children_cpu_ns    # of the children waited for, and theirs
    uint64_t rss_pages          # within rss_error_pages
    uint64_t ended_ns           # the part of cpu_ns that threads used which had ended when the first one was read
    uint8_t zombie              # all its threads have ended
    uint8_t changed             # a thread ended while they were read

cdef inline bint c_row_is_whole(const c_Row *row) noexcept nogil:
    """Whether the threads that were read are those there were, so that cpu_ns is neither short nor counts one twice."""
    return row.seen_count == row.thread_count and not row.changed

cdef struct c_Bpf:
    c_TaskProgram program       # .reason: why c_bpf_open failed
    c_Row *rows                 # in the order of their first threads' ids
    uint32_t row_count
    uint32_t row_room
    uint32_t *places            # by pid: where in rows it is, if the row there says so
    uint32_t leaderless_count   # rows whose leading thread has not been read yet
    uint8_t *buffer
    size_t buffer_bytes
    uint32_t rss_error_pages    # how far rss_pages may be off; before Linux 6.2 for each thread
    uint64_t task_count         # threads read by the last sweep

cdef int c_bpf_open(c_Bpf *bpf) noexcept nogil
cdef int c_bpf_sweep(c_Bpf *bpf) noexcept nogil
cdef c_Row *c_bpf_row(const c_Bpf *bpf, int32_t pid) noexcept nogil
cdef void c_bpf_close(c_Bpf *bpf) noexcept nogil

cdef class BpfTable:
    cdef c_Bpf c
