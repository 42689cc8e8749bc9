from libc.stdint cimport int32_t, uint64_t

cdef struct c_ProcStat:
    int32_t pid
    int32_t ppid
    char state
    uint64_t cpu_ticks           # utime + stime
    uint64_t children_cpu_ticks  # cutime + cstime
    uint64_t minor_faults        # minflt + cminflt: its own and those of the children it waited for
    uint64_t major_faults        # majflt + cmajflt
    int32_t thread_count
    uint64_t start_ticks
    uint64_t virtual_bytes
    uint64_t rss_pages

cdef struct c_ProcMemory:
    uint64_t anonymous_bytes
    uint64_t file_bytes
    uint64_t shared_bytes
    uint64_t swap_bytes

cdef struct c_ProcIo:
    uint64_t read_bytes
    uint64_t write_bytes

cdef uint64_t c_tick_ns
cdef uint64_t c_page_bytes

cdef const char *c_number(const char *at, const char *end, uint64_t *value) noexcept nogil
cdef int c_parse_stat(const char *text, size_t size, c_ProcStat *result) noexcept nogil
cdef int c_parse_statm(const char *text, size_t size, uint64_t *resident_pages, uint64_t *shared_pages) noexcept nogil
cdef int c_parse_status(const char *text, size_t size, c_ProcMemory *result) noexcept nogil
cdef int c_parse_rollup(const char *text, size_t size, c_ProcMemory *result) noexcept nogil
cdef int c_parse_io(const char *text, size_t size, c_ProcIo *result) noexcept nogil
cdef bint c_field(const char *text, size_t size, const char *name, size_t name_size, uint64_t *value) noexcept nogil
cdef bint c_kb_field(const char *text, size_t size, const char *name, size_t name_size, uint64_t *bytes_) noexcept nogil
cdef int c_parse_switches(const char *text, size_t size, uint64_t *voluntary, uint64_t *involuntary) noexcept nogil
cdef void c_proc_path(char *path, int pid, const char *name) noexcept nogil
cdef int c_read_stat(int pid, c_ProcStat *result) noexcept nogil
cdef int c_read_memory(int pid, c_ProcMemory *result) noexcept nogil
cdef int c_read_rollup(int pid, c_ProcMemory *result) noexcept nogil
cdef int c_read_io(int pid, c_ProcIo *result) noexcept nogil
