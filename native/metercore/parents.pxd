from libc.stdint cimport uint64_t

from metercore._c.pthread cimport pthread_mutex_t

cdef enum:
    MOST_PARENTS = 8

cdef struct c_Parent:
    char *path               # of its cpu.stat or cpuacct.usage
    int descriptor
    bint v1                  # it is cpuacct.usage
    uint64_t ran_tick        # the last tick that saw that somebody below it ran
    uint64_t last_total_ns

cdef struct c_Parents:
    pthread_mutex_t lock     # of `count`: entries are added, never removed
    int count
    c_Parent[MOST_PARENTS] all   # values are of whoever ticks

cdef void c_parents_open(c_Parents *parents) noexcept nogil
cdef void c_parents_close(c_Parents *parents) noexcept nogil
cdef int c_parents_find(c_Parents *parents, bytes path, bint v1) except -2
cdef void c_parents_read(c_Parents *parents, uint64_t tick) noexcept nogil
