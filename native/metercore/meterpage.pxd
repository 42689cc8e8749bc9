from metercore._c.meter cimport tm_meter

cdef void c_boot_id(char *forty_bytes) noexcept nogil
cdef bint c_meter_newest(const char *page, size_t size, tm_meter *result) noexcept nogil
cdef int c_meter_store(int *descriptor, const char *path, tm_meter *meter) noexcept nogil
cdef int c_meter_read(const char *path, tm_meter *result) noexcept nogil
cdef int c_meter_write(const char *path, tm_meter *meter) noexcept nogil
