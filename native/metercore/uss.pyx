# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Proportional and unique set sizes, where they were asked for.

Unique is what would be freed if the process ended: Private_Clean + Private_Dirty + Private_Hugetlb of smaps_rollup
(Documentation/filesystems/proc.rst). Proportional is without files, as memory is everywhere here. Reading them walks the page
tables of the process, so the caller keeps a budget, and they are read without the slot's lock.
"""

from libc.errno cimport EACCES, EIO, EPERM
from libc.stdint cimport int32_t, uint64_t

from metercore._c.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from metercore.descriptors cimport c_read_path
from metercore.details cimport MOST_IDS, c_pids
from metercore.errors cimport raise_errno
from metercore.procfs cimport c_kb_field, c_parse_rollup, c_proc_path, c_ProcMemory
from metercore.slots cimport ABSENT, HOLD_PROCESSES, c_Slot


cdef int c_read_uss(int pid, uint64_t *proportional, uint64_t *unique) noexcept nogil:
    """0 or -errno."""
    cdef char[48] path
    cdef char[2048] text
    cdef c_ProcMemory shares
    cdef uint64_t clean, dirty, huge
    cdef ssize_t got
    c_proc_path(path, pid, b"smaps_rollup")
    got = c_read_path(path, text, 2048)
    if got < 0:
        return <int>got
    if c_parse_rollup(text, <size_t>got, &shares) != 0:
        return -EIO
    if not c_kb_field(text, <size_t>got, b"Private_Clean:", 14, &clean):
        return -EIO
    if not c_kb_field(text, <size_t>got, b"Private_Dirty:", 14, &dirty):
        return -EIO
    if not c_kb_field(text, <size_t>got, b"Private_Hugetlb:", 16, &huge):
        huge = 0
    proportional[0] = shares.anonymous_bytes + shares.shared_bytes + shares.swap_bytes
    unique[0] = clean + dirty + huge
    return 0


cdef void c_measure_uss(c_Slot *slot, uint64_t handle, uint64_t now_ns) noexcept nogil:
    """Sum up both over the living; absent when one of them is not ours to read."""
    cdef int32_t[MOST_IDS] pids
    cdef uint64_t proportional, unique
    cdef uint64_t all_proportional = 0
    cdef uint64_t all_unique = 0
    cdef int32_t n
    cdef int32_t count = 0
    cdef int error
    pthread_mutex_lock(&slot.work_lock)
    if slot.handle == handle:
        slot.last_uss_ns = now_ns
        slot.uss_stale = 0
        count = c_pids(slot, pids)
    pthread_mutex_unlock(&slot.work_lock)
    if not 0 < count <= MOST_IDS:
        return
    for n in range(count):
        error = c_read_uss(pids[n], &proportional, &unique)
        if error == -EACCES or error == -EPERM:
            all_unique = ABSENT
            break
        if error == 0:
            all_proportional += proportional
            all_unique += unique
    pthread_mutex_lock(&slot.work_lock)
    if slot.handle == handle:
        slot.uss_bytes = all_unique
        if slot.hold != HOLD_PROCESSES:  # else memory is made of the same, and fresher
            slot.pss_bytes = all_proportional if all_unique != ABSENT else ABSENT
        slot.dirty = 1
    pthread_mutex_unlock(&slot.work_lock)


def read_uss(int pid):
    """Return (proportional, unique) set size of a process in bytes. Needs the right to trace it. Raises OSError."""
    cdef uint64_t proportional, unique
    cdef int error = c_read_uss(pid, &proportional, &unique)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/smaps_rollup")
    return proportional, unique
