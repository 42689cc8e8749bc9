from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

# What the program writes for each task, in ascending order of thread ids. For a thread that leads no process the record ends
# before start_ns, and its tgid is negative.
cdef struct c_TaskRecord:
    int32_t tgid
    int32_t ppid
    uint64_t run_ns         # of this thread
    uint64_t ended_ns       # of the process's threads that are no more
    uint64_t start_ns       # since boot, suspension included
    uint64_t children_ns    # of the children waited for
    int64_t rss_pages
    int32_t thread_count
    int32_t exit_state      # 0 while the leading thread runs

cdef enum:
    THREAD_RECORD_BYTES = 24
    TASK_RECORD_BYTES = 56

cdef struct c_TaskProgram:
    int link                # iterators are made from it; -1 = not open
    uint32_t rss_error_pages
    char reason[512]        # after a failure: why, and what to do about it

cdef int c_task_program_open(c_TaskProgram *program) noexcept nogil
cdef int c_task_program_iterate(const c_TaskProgram *program) noexcept nogil
cdef void c_task_program_close(c_TaskProgram *program) noexcept nogil
