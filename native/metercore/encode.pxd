from metercore.slots cimport c_View
from metercore.tariff cimport c_Tariff

cdef enum:
    # More than any status can need: 1,000 of text, 128 of label, 60 fields of 12 at most, 16 GPUs of 230, 16 counters of 40.
    HOT_BYTES = 8192

# Of the GPUs of this host, by index; written once, before any view refers to one.
cdef struct c_GpuName:
    char uuid[96]
    char name[96]

cdef struct c_GpuNames:
    c_GpuName[16] by_index   # MOST_GPUS

cdef int c_encode_hot(const c_View *view, const c_Tariff *tariff, const c_GpuNames *names, unsigned char *out) noexcept nogil
