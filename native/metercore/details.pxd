from libc.stdint cimport uint64_t

from metercore.slots cimport c_Slot

cdef void c_take_details(c_Slot *slot, uint64_t now_ns, bint last) noexcept nogil
