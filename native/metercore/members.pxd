from libc.stdint cimport uint64_t

from metercore.backend cimport c_Look
from metercore.slots cimport c_Member, c_Slot

cdef bint c_read_reaped(c_Slot *slot) noexcept nogil
cdef bint c_by_stat(c_Slot *slot, c_Member *member, bint keep, bint has_clock, uint64_t clock_ns) noexcept nogil
cdef bint c_by_clock(c_Slot *slot, c_Member *member, bint full) noexcept nogil
cdef bint c_members_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil
