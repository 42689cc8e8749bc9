from libc.stdint cimport int32_t, uint64_t

from metercore.backend cimport c_Look
from metercore.slots cimport c_Member, c_Slot

cdef void c_attached_start(c_Slot *slot, int32_t pid, uint64_t start_ticks, uint64_t boottime_ns) noexcept nogil
cdef bint c_attached_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil
cdef void c_attached_io(c_Slot *slot, c_Member *member, uint64_t read_bytes, uint64_t write_bytes) noexcept nogil
