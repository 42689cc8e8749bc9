from libc.stdint cimport int32_t, uint32_t, uint64_t

# Whom a reported pid was found to be.
cdef struct c_Known:
    int32_t reported
    int32_t pid              # here; 0 = nobody here
    uint64_t start_ticks
    uint64_t next_try_ns     # of one who is nobody here
    bint seen                # reported by the present look

cdef struct c_PidSpace:
    char proc_path[128]
    bint nested              # we are not in the initial pid namespace, so a reported pid may be another's
    c_Known *known           # sorted by reported pid
    uint32_t known_count
    uint32_t known_room

cdef void c_pids_open(c_PidSpace *space, const char *proc_path, bint nested) noexcept nogil
cdef void c_pids_close(c_PidSpace *space) noexcept nogil
cdef bint c_pids_nested() noexcept nogil
cdef int c_pids_resolve(c_PidSpace *space, const int32_t *reported, uint32_t count, uint64_t now_ns) noexcept nogil
cdef int32_t c_pid_here(const c_PidSpace *space, int32_t reported, uint64_t *start_ticks) noexcept nogil
