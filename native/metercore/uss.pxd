from libc.stdint cimport uint64_t

from metercore.slots cimport c_Slot

cdef void c_measure_uss(c_Slot *slot, uint64_t handle, uint64_t now_ns) noexcept nogil
