from libc.stdint cimport uint64_t

cdef enum:
    MOST_CUSTOM = 16        # as many as the report block has counters of the work's own (_c/report.h)
    CUSTOM_NAME_BYTES = 24  # likewise: UTF-8, NUL padded
    MOST_LABEL_BYTES = 128

cdef struct c_CustomPrice:
    char name[CUSTOM_NAME_BYTES]
    double per_unit

cdef struct c_Tariff:
    double per_core_hour
    double per_gib_hour
    double per_gpu_gib_hour
    double per_gpu_second
    int custom_count
    int label_bytes
    c_CustomPrice custom[MOST_CUSTOM]
    char label[MOST_LABEL_BYTES]

cdef struct c_Integrals:
    uint64_t cpu_ns
    uint64_t gpu_ns
    uint64_t memory_byte_ns2_low
    uint64_t memory_byte_ns2_high
    uint64_t gpu_memory_byte_ns2_low
    uint64_t gpu_memory_byte_ns2_high
    uint64_t custom_count[MOST_CUSTOM]  # in the order of the tariff's custom prices: see c_tariff_find

cdef struct c_Price:
    double cpu
    double memory
    double gpu_memory
    double gpu_time
    double custom[MOST_CUSTOM]
    double total

cdef int c_tariff_find(const c_Tariff *tariff, const char *name) noexcept nogil
cdef void c_price(const c_Tariff *tariff, const c_Integrals *integrals, c_Price *price) noexcept nogil

cdef class Tariff:
    cdef c_Tariff c
    cdef readonly str name
    cdef readonly str version
