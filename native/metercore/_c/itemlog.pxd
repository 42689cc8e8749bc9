"""Declarations of itemlog.h, the layout of the item log."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "metercore/_c/itemlog.h" nogil:
    uint64_t TM_ITEMS_MAGIC
    uint32_t TM_ITEMS_VERSION
    enum:
        TM_ITEMS_HEAD_BYTES
        TM_ITEMS_FIRST_BYTES
        TM_ITEMS_MOST_BYTES
        TM_ITEMS_LEAST_BYTES
        TM_ITEMS_UNREAD_BYTES
        TM_ITEM_ID_BYTES
        TM_ITEM_NAME_BYTES
        TM_ITEM_ERROR_BYTES
        TM_ITEM_TEXT_BYTES
        TM_ITEM_METADATA_BYTES
        TM_ITEM_RECORD_MOST_BYTES

    enum:
        TM_ITEM_CHANGED
        TM_ITEM_STEP
        TM_ITEM_MESSAGE
        TM_ITEM_DROPPED

    enum:
        TM_ITEM_ID_NONE
        TM_ITEM_ID_TEXT
        TM_ITEM_ID_NUMBER
        TM_ITEM_ID_JSON

    struct tm_items_head:
        uint64_t magic
        uint32_t version
        uint32_t head_bytes
        uint32_t writer_pid
        uint64_t start_ticks
        uint64_t number
        uint64_t namespaces
        uint64_t room_bytes
        uint64_t end_bytes
        uint32_t closed

    struct tm_item_record:
        uint32_t crc
        uint32_t size_bytes
        uint32_t place
        uint8_t type
        uint8_t code
        uint8_t id_kind
        uint8_t timed
        int64_t time_ns
        int64_t value
        int32_t attempt
        uint16_t id_bytes
        uint16_t stage_bytes
        uint16_t worker_bytes
        uint16_t step_bytes
        uint16_t error_bytes
        uint16_t metadata_bytes
