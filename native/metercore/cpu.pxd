from libc.stdint cimport uint64_t

from metercore.slots cimport c_Slot

cdef bint c_cpu_total(c_Slot *slot, bint all_known, uint64_t *total_ns) noexcept nogil
cdef double c_allowed_cores(c_Slot *slot, double online_cores, double quota_cores) noexcept nogil
