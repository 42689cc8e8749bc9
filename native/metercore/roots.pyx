# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Whose descendants belong to which slot, handed from whoever opens and finishes slots to whoever ticks and owns the tree."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from metercore._c.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from metercore.tree cimport c_tree_add_root, c_tree_remove_root


cdef void c_roots_open(c_Roots *roots) noexcept nogil:
    memset(roots, 0, sizeof(c_Roots))
    pthread_mutex_init(&roots.lock, NULL)


cdef void c_roots_close(c_Roots *roots) noexcept nogil:
    free(roots.changes)
    pthread_mutex_destroy(&roots.lock)


cdef void c_roots_note(c_Roots *roots, const c_Slot *slot, bint added) noexcept nogil:
    """Note for the next tick that the descendants of the slot's root belong to it, or no longer do."""
    cdef void *more
    pthread_mutex_lock(&roots.lock)
    if roots.count == roots.room:
        more = realloc(roots.changes, (roots.room * 2 + 16) * sizeof(c_RootChange))
        if more != NULL:
            roots.changes = <c_RootChange *>more
            roots.room = roots.room * 2 + 16
    if roots.count < roots.room:
        roots.changes[roots.count].pid = slot.main_pid if slot.attached else slot.shim_pid
        roots.changes[roots.count].owner = slot.handle
        roots.changes[roots.count].added = added
        roots.count += 1
    if added:
        roots.slot_count += 1
        roots.youngest_ns = slot.last_tick_ns
    else:
        roots.slot_count -= 1
    pthread_mutex_unlock(&roots.lock)


cdef void c_roots_apply(c_Roots *roots, c_Tree *tree) noexcept nogil:
    """Pass on to the tree what was noted."""
    cdef uint32_t n
    pthread_mutex_lock(&roots.lock)
    for n in range(roots.count):
        if roots.changes[n].added:
            c_tree_add_root(tree, roots.changes[n].pid, roots.changes[n].owner)
        else:
            c_tree_remove_root(tree, roots.changes[n].pid, roots.changes[n].owner)
    roots.count = 0
    pthread_mutex_unlock(&roots.lock)
