from libc.stdint cimport int32_t, uint64_t

from metercore.slots cimport c_Slot

cdef bint c_memory_held(c_Slot *slot, bint fresh, uint64_t *bytes_, int *source) noexcept nogil
cdef void c_read_members(c_Slot *slot) noexcept nogil
cdef bint c_is_empty(c_Slot *slot) noexcept nogil
cdef void c_read_counts(c_Slot *slot) noexcept nogil
cdef void c_read_kernel_peak(c_Slot *slot) noexcept nogil
cdef int32_t c_pss_candidates(c_Slot *slot, int32_t *pids, int32_t room) noexcept nogil
cdef void c_pss_measure(c_Slot *slot, const int32_t *pids, const double *shares, int32_t count) noexcept nogil
