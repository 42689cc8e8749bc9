from libc.stdint cimport uint64_t

from metercore.limit cimport c_CpuMounts
from metercore.slots cimport c_Slot

cdef enum:
    GAP_INTERVALS = 6

cdef struct c_Context:
    uint64_t interval_ns
    uint64_t gap_ns         # a later tick is a gap: nobody knows what happened in between
    uint64_t late_ns        # how much longer than an interval a quiet slot may have waited for its turn
    double online_cores
    bint measure_uss        # fixed
    c_CpuMounts mounts      # fixed

cdef void c_publish(c_Slot *slot, const c_Context *context, uint64_t now_ns) noexcept nogil
