from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from metercore.bpf cimport c_Bpf

cdef struct c_Entry:
    int32_t pid             # 0 = empty place
    int32_t ppid
    int32_t root_pid        # of a member: the root it belongs to
    uint8_t kind
    uint32_t epoch          # the sweep that last saw it
    uint32_t checked        # the sweep that last read its start time
    uint64_t start_ticks
    uint64_t owner

cdef struct c_Found:
    uint64_t owner
    uint64_t start_ticks
    int32_t pid

cdef struct c_Tree:
    c_Entry *table          # open addressing, capacity is a power of two
    uint32_t capacity
    uint32_t count
    uint32_t epoch
    uint32_t cursor         # where the next round of re-verification begins
    bint roots_changed
    int proc_descriptor
    char *buffer
    int32_t *fresh          # pids that are new, and then scratch for those that have gone
    uint32_t fresh_count
    uint32_t fresh_room
    c_Found *found          # members discovered by the last sweep, ancestors first
    uint32_t found_count
    uint32_t found_room
    const c_Bpf *rows       # of the sweep under way; NULL = /proc is read
    uint64_t sweep_count
    uint64_t stat_count

cdef int c_tree_open(c_Tree *tree) noexcept nogil
cdef void c_tree_close(c_Tree *tree) noexcept nogil
cdef int c_tree_add_root(c_Tree *tree, int32_t pid, uint64_t owner) noexcept nogil
cdef void c_tree_remove_root(c_Tree *tree, int32_t pid, uint64_t owner) noexcept nogil
cdef void c_tree_forget(c_Tree *tree, int32_t pid) noexcept nogil
cdef int c_tree_sweep(c_Tree *tree, const c_Bpf *rows) noexcept nogil

cdef class ProcessTree:
    cdef c_Tree c
