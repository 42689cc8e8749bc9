# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The cgroups that hold the tasks' cgroups: while the total of one stands still, so does that of each task in it."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset, strdup

from metercore._c.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from metercore.cpu cimport c_cgroup_total
from metercore.descriptors cimport c_keep_closed

import os


cdef void c_parents_open(c_Parents *parents) noexcept nogil:
    memset(parents, 0, sizeof(c_Parents))
    pthread_mutex_init(&parents.lock, NULL)


cdef void c_parents_close(c_Parents *parents) noexcept nogil:
    cdef int n
    for n in range(parents.count):
        c_keep_closed(&parents.all[n].descriptor)
        free(parents.all[n].path)
    pthread_mutex_destroy(&parents.lock)


cdef int c_parents_find(c_Parents *parents, bytes path, bint v1) except -2:
    """Find or add the entry of a cgroup's CPU total; -1 when there is no such file, or too many. One caller at a time."""
    cdef c_Parent *parent
    cdef int n
    for n in range(parents.count):
        if <bytes>parents.all[n].path == path:
            return n
    if parents.count == MOST_PARENTS or not os.path.exists(path):
        return -1
    parent = &parents.all[parents.count]
    parent.path = strdup(path)
    if parent.path == NULL:
        raise MemoryError
    parent.descriptor = -1
    parent.v1 = v1
    pthread_mutex_lock(&parents.lock)
    parents.count += 1
    pthread_mutex_unlock(&parents.lock)
    return parents.count - 1


cdef void c_parents_read(c_Parents *parents, uint64_t tick) noexcept nogil:
    """Note under which anybody ran since the tick before. Read before their children: who runs later is seen next time."""
    cdef uint64_t total_ns = 0
    cdef int n, count
    cdef bint known
    cdef c_Parent *parent
    pthread_mutex_lock(&parents.lock)
    count = parents.count
    pthread_mutex_unlock(&parents.lock)
    for n in range(count):
        parent = &parents.all[n]
        known = c_cgroup_total(&parent.descriptor, parent.path, parent.v1, &total_ns)
        if not known or total_ns != parent.last_total_ns:
            parent.ran_tick = tick
        parent.last_total_ns = total_ns
