from libc.stdint cimport int64_t, uint64_t

from metercore.slots cimport c_Slot

cdef struct c_Context:
    uint64_t interval_ns
    double online_cores
    double quota_cores      # 0 = none

cdef void c_start(c_Slot *slot, const c_Context *context, uint64_t now_ns) noexcept nogil
cdef void c_sample(c_Slot *slot, const c_Context *context, uint64_t now_ns, bint swept, bint last) noexcept nogil
cdef void c_publish(c_Slot *slot, const c_Context *context, uint64_t now_ns) noexcept nogil
