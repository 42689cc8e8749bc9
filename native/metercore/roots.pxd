from libc.stdint cimport int32_t, uint32_t, uint64_t

from metercore._c.pthread cimport pthread_mutex_t
from metercore.slots cimport c_Slot
from metercore.tree cimport c_Tree

cdef struct c_RootChange:
    int32_t pid
    bint added
    uint64_t owner

cdef struct c_Roots:
    pthread_mutex_t lock     # of everything here; taken after a slot's work_lock
    c_RootChange *changes    # since the tick before
    uint32_t count
    uint32_t room
    uint32_t slot_count      # how many slots need the tree
    uint64_t youngest_ns     # when the newest of them was opened

cdef void c_roots_open(c_Roots *roots) noexcept nogil
cdef void c_roots_close(c_Roots *roots) noexcept nogil
cdef void c_roots_note(c_Roots *roots, const c_Slot *slot, bint added) noexcept nogil
cdef void c_roots_apply(c_Roots *roots, c_Tree *tree) noexcept nogil
