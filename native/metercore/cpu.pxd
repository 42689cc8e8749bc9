from libc.stdint cimport uint64_t

from metercore.backend cimport c_Look
from metercore.slots cimport c_Slot

cdef bint c_cgroup_total(int *descriptor, const char *cgroup, bint v1, uint64_t *total_ns) noexcept nogil
cdef bint c_cpu_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil
