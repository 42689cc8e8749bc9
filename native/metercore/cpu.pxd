from libc.stdint cimport uint64_t

from metercore.slots cimport c_Member, c_Slot

cdef void c_read_reaped(c_Slot *slot) noexcept nogil
cdef bint c_read_member(c_Slot *slot, c_Member *member) noexcept nogil
cdef bint c_cpu_total(c_Slot *slot, bint all_known, uint64_t *total_ns) noexcept nogil
cdef double c_allowed_cores(c_Slot *slot, double online_cores, double quota_cores) noexcept nogil
