from libc.stdint cimport int32_t, uint64_t

from metercore.slots cimport c_Slot

cdef enum:
    MOST_IDS = 2048      # processes or threads of one slot that are looked at; of more, these figures are absent

cdef int32_t c_entry_count(const char *path) noexcept nogil
cdef double c_pressure(const char *path) noexcept nogil
cdef int32_t c_pids(c_Slot *slot, int32_t *pids) noexcept nogil
cdef void c_take_details(c_Slot *slot, uint64_t now_ns, bint ran, bint last) noexcept nogil
