from libc.stdint cimport int64_t, uint64_t

from metercore.backend cimport c_Look
from metercore.publish cimport c_Context
from metercore.slots cimport c_Slot

cdef int64_t c_integrated_realtime(const c_Slot *slot, uint64_t now_ns) noexcept nogil
cdef void c_persist(c_Slot *slot, uint64_t now_ns) noexcept nogil
cdef void c_start(c_Slot *slot, const c_Context *context, const c_Look *look, uint64_t now_ns) noexcept nogil
cdef void c_sample(
    c_Slot *slot, const c_Context *context, const c_Look *look, uint64_t now_ns, bint swept, bint asleep, bint last
) noexcept nogil
