from metercore.slots cimport c_View

cdef struct c_Tariff:
    double per_core_hour
    double per_gib_hour
    int name_bytes
    char name[128]

cdef enum:
    HOT_BYTES = 2048     # more than any status can need: 1,000 of text, 128 of name, 40 fields of 11 at most

cdef int c_encode_hot(const c_View *view, const c_Tariff *tariff, unsigned char *out) noexcept nogil
