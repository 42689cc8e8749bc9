"""Declarations of history.h, the layout of an attempt's history."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "metercore/_c/history.h" nogil:
    uint64_t TM_HISTORY_MAGIC
    uint32_t TM_HISTORY_VERSION
    enum:
        TM_HISTORY_TIERS
        TM_HISTORY_HEAD_BYTES
        TM_HISTORY_POINTS
        TM_HISTORY_BYTES
        TM_HISTORY_GAP

    struct tm_history_head:
        uint64_t magic
        uint32_t version
        uint32_t crc
        int64_t created_realtime_ns
        uint8_t reserved[40]

    struct tm_history_point:
        uint32_t index
        uint8_t tier
        uint8_t flags
        float covered_seconds
        float cores
        float cores_max
        float memory_bytes
        float memory_bytes_max
        float gpu_memory_bytes
        float gpu_utilization_percent
        float rate_count_per_second
        float rate_size_per_second
        uint32_t crc
