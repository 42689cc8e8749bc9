"""Declarations of meter.h, the layout of the meter page."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "metercore/_c/meter.h" nogil:
    uint64_t TM_METER_MAGIC
    uint32_t TM_METER_VERSION
    enum:
        TM_METER_BYTES
        TM_METER_SLOT_BYTES

    struct tm_meter:
        uint64_t magic
        uint32_t version
        uint32_t serial
        char boot_id[40]
        uint64_t first_monotonic_ns
        uint64_t last_monotonic_ns
        int64_t last_realtime_ns
        uint64_t cpu_ns
        uint64_t memory_byte_ns2_low
        uint64_t memory_byte_ns2_high
        uint64_t memory_bytes
        uint64_t peak_memory_bytes
        double peak_cpu_cores
        uint64_t io_read_bytes
        uint64_t io_write_bytes
        uint64_t voluntary_switch_count
        uint64_t involuntary_switch_count
        uint64_t minor_fault_count
        uint64_t major_fault_count
        uint64_t gpu_memory_byte_ns2_low
        uint64_t gpu_memory_byte_ns2_high
        uint64_t gpu_memory_bytes
        uint64_t peak_gpu_memory_bytes
        uint64_t gpu_ns
        double peak_gpu_percent
        uint64_t gpu_monotonic_ns
        uint64_t sample_count
        uint32_t cpu_source
        uint32_t memory_source
        uint32_t had_gap
        uint64_t tree_cpu_ns
        uint32_t crc
