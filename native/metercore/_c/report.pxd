"""Declarations of report.h, the layout of the report block."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


cdef extern from "metercore/_c/report.h" nogil:
    uint64_t TM_REPORT_MAGIC
    uint32_t TM_REPORT_VERSION
    enum:
        TM_REPORT_BYTES
        TM_REPORT_CUSTOM_COUNT
        TM_REPORT_NAME_BYTES
        TM_REPORT_TEXT_BYTES

    struct tm_report_counter:
        int64_t value

    struct tm_report_custom:
        char name[24]
        int64_t value

    struct tm_report_text:
        uint32_t crc
        uint16_t status_bytes
        uint16_t object_bytes
        char status[500]
        char object[500]

    struct tm_report:
        uint64_t magic
        uint32_t version
        uint32_t size_bytes
        uint32_t writer_pid
        uint32_t ready
        int64_t ready_realtime_ns
        int64_t dropped_events
        tm_report_counter total_count
        tm_report_counter completed_count
        tm_report_counter failed_count
        tm_report_counter total_size
        tm_report_counter completed_size
        tm_report_counter failed_size
        uint32_t text_lock
        uint32_t text_serial
        tm_report_custom custom[16]
        tm_report_text text[2]
