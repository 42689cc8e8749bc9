from metercore.sampler cimport c_Sampler

cdef void c_tick(c_Sampler *s) noexcept nogil
cdef void *c_run(void *argument) noexcept nogil
