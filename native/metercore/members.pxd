from libc.stdint cimport uint64_t

from metercore.backend cimport c_Look
from metercore.slots cimport c_Member, c_Slot

cdef bint c_read_reaped(c_Slot *slot) noexcept nogil
cdef bint c_read_member(c_Slot *slot, c_Member *member, bint by_stat, bint full) noexcept nogil
cdef bint c_members_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil
