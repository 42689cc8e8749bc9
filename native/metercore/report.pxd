from libc.stdint cimport int64_t, uint16_t, uint32_t

from metercore._c.report cimport tm_report

cdef struct c_Report:
    int64_t total_count
    int64_t completed_count
    int64_t failed_count
    int64_t total_size
    int64_t completed_size
    int64_t failed_size
    bint ready
    uint32_t text_serial   # 0 = no text

cdef struct c_ReportText:
    uint16_t status_bytes
    uint16_t object_bytes
    char status[500]       # valid UTF-8
    char object[500]

cdef bint c_report_counters(const char *page, size_t size, c_Report *result) noexcept nogil
cdef int64_t c_clamp(int64_t value) noexcept nogil
cdef void c_report_add(const c_Report *one, const c_Report *other, c_Report *both) noexcept nogil
cdef void c_repair_utf8(unsigned char *text, size_t size) noexcept nogil
cdef bint c_report_text(const char *page, size_t size, c_ReportText *result) noexcept nogil

cdef class ReportBlock:
    cdef tm_report *page    # never NULL: a mapping of the file, or of anonymous memory
    cdef readonly bint shared
    cdef int c_write(self, bytes status, bytes object_) except -1
