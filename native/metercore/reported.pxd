from libc.stdint cimport uint64_t

from metercore.slots cimport c_Slot

cdef bint c_reported_begin(c_Slot *slot) noexcept nogil
cdef void c_reported_read(c_Slot *slot, const char *own_page) noexcept nogil
cdef bint c_reported_note(c_Slot *slot, uint64_t handle) noexcept nogil
