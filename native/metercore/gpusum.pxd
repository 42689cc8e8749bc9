from libc.stdint cimport uint64_t

from metercore.gpu cimport c_GpuTable
from metercore.slots cimport c_Slot

cdef bint c_gpu_take(c_Slot *slot, const c_GpuTable *table, uint64_t skipped_ns) noexcept nogil
