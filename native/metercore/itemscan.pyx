# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Find the records in bytes that somebody else wrote (layout: _c/itemlog.h): nothing of them is believed.

A record counts when its CRC is right; one whose contents are impossible is left out; texts are repaired where they lie.
"""

from libc.math cimport isfinite
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from metercore._c.itemlog cimport (
    TM_ITEM_CHANGED,
    TM_ITEM_DROPPED,
    TM_ITEM_ERROR_BYTES,
    TM_ITEM_ID_BYTES,
    TM_ITEM_ID_JSON,
    TM_ITEM_ID_NUMBER,
    TM_ITEM_ID_TEXT,
    TM_ITEM_MESSAGE,
    TM_ITEM_METADATA_BYTES,
    TM_ITEM_NAME_BYTES,
    TM_ITEM_RECORD_MOST_BYTES,
    TM_ITEM_STEP,
    TM_ITEM_TEXT_BYTES,
    tm_item_record,
)
from metercore.crc cimport c_crc32c
from metercore.report cimport c_repair_utf8

cdef enum:
    MOST_STATUS = 6
    MOST_TYPE = 4
    MOST_LEVEL = 4
    KIND_ITEM = 2
    KIND_STEP = 3
    KIND_MESSAGE = 4
    # Candidates whose CRC is computed in vain, per segment: who makes more of them is after our time.
    MOST_MISSES = 64
    ENTRY_BYTES = 4

cdef int64_t MOST_COUNT = 0x3FFFFFFFFFFFFFFF


cdef int c_found_open(c_Found *found, size_t room) noexcept nogil:
    """Make room for so many bytes of records; -1 without memory."""
    memset(found, 0, sizeof(c_Found))
    found.room = room
    found.most = room // sizeof(tm_item_record)
    found.data = <char *>malloc(room)
    found.starts = <uint32_t *>malloc(found.most * sizeof(uint32_t) + 1)
    found.kinds = <uint8_t *>malloc(found.most + 1)
    if found.data == NULL or found.starts == NULL or found.kinds == NULL:
        c_found_free(found)
        return -1
    return 0


cdef void c_found_free(c_Found *found) noexcept nogil:
    free(found.data)
    free(found.starts)
    free(found.kinds)
    memset(found, 0, sizeof(c_Found))


cdef bint c_entries_are_sound(char *at, size_t size) noexcept nogil:
    """Check the lengths of metadata, and repair its texts."""
    cdef size_t used = 0
    cdef uint16_t[2] sizes
    while used < size:
        if size - used < ENTRY_BYTES:
            return 0
        memcpy(sizes, at + used, ENTRY_BYTES)
        used += ENTRY_BYTES
        if <size_t>sizes[0] + sizes[1] > size - used:
            return 0
        c_repair_utf8(<unsigned char *>at + used, sizes[0])
        c_repair_utf8(<unsigned char *>at + used + sizes[0], sizes[1])
        used += <size_t>sizes[0] + sizes[1]
    return 1


cdef bint c_id_is_sound(const tm_item_record *record, char *text) noexcept nogil:
    if record.id_bytes > TM_ITEM_ID_BYTES:
        return 0
    if record.id_kind == TM_ITEM_ID_NUMBER:
        return record.id_bytes == sizeof(int64_t)
    if record.id_kind == TM_ITEM_ID_TEXT or (record.id_kind == TM_ITEM_ID_JSON and record.id_bytes > 0):
        c_repair_utf8(<unsigned char *>text, record.id_bytes)
        return 1
    return 0


cdef int c_kind(tm_item_record *record) noexcept nogil:
    """Which kind of event a record with the right CRC is, 0 = none, -1 = impossible. Numbers and texts are put right."""
    cdef char *at = <char *>record + sizeof(tm_item_record)
    cdef size_t names = <size_t>record.stage_bytes + record.worker_bytes + record.step_bytes
    cdef size_t size = sizeof(tm_item_record) + record.id_bytes + names + record.error_bytes + record.metadata_bytes
    cdef double seconds
    if (size + 7) & ~<size_t>7 != record.size_bytes:
        return -1
    record.time_ns = max(record.time_ns, 0)
    record.attempt = max(record.attempt, 0)
    if record.type == TM_ITEM_DROPPED:
        record.value = min(max(record.value, 0), MOST_COUNT)
        return 0
    if record.type == TM_ITEM_MESSAGE:
        if not 1 <= record.code <= MOST_LEVEL or record.id_bytes + names + record.metadata_bytes > 0:
            return -1
        if record.error_bytes > TM_ITEM_TEXT_BYTES:
            return -1
        c_repair_utf8(<unsigned char *>at, record.error_bytes)
        return KIND_MESSAGE
    if max(record.stage_bytes, record.worker_bytes, record.step_bytes) > TM_ITEM_NAME_BYTES:
        return -1
    if record.error_bytes > TM_ITEM_ERROR_BYTES or record.metadata_bytes > TM_ITEM_METADATA_BYTES:
        return -1
    if not c_id_is_sound(record, at):
        return -1
    at += record.id_bytes
    c_repair_utf8(<unsigned char *>at, record.stage_bytes)
    at += record.stage_bytes
    c_repair_utf8(<unsigned char *>at, record.worker_bytes)
    at += record.worker_bytes
    c_repair_utf8(<unsigned char *>at, record.step_bytes)
    at += record.step_bytes
    c_repair_utf8(<unsigned char *>at, record.error_bytes)
    at += record.error_bytes
    if record.type == TM_ITEM_CHANGED:
        if not 1 <= record.code <= MOST_STATUS or record.step_bytes > 0:
            return -1
        record.value = max(record.value, 0)
        return KIND_ITEM if c_entries_are_sound(at, record.metadata_bytes) else -1
    if record.type == TM_ITEM_STEP:
        if not 1 <= record.code <= MOST_TYPE or record.metadata_bytes > 0:
            return -1
        memcpy(&seconds, &record.value, sizeof(double))
        record.timed = record.timed == 1 and isfinite(seconds) and seconds >= 0.0
        return KIND_STEP
    return -1


cdef void c_take(c_Found *found, tm_item_record *record, size_t start) noexcept nogil:
    cdef int kind = c_kind(record)
    if kind < 0:
        found.bad_count += 1
    elif kind == 0:
        found.dropped_count += <uint64_t>record.value
    elif found.count < found.most:
        found.starts[found.count] = <uint32_t>start
        found.kinds[found.count] = <uint8_t>kind
        found.count += 1


cdef size_t c_scan(c_Found *found, c_Scan *scan, size_t size, uint64_t limit) noexcept nogil:
    """Look through `size` bytes of a segment from `scan.place` on, which lie behind `found.used` and are aligned to 8.

    `limit` is where the segment ends now. Returns how many bytes are done with, for which `scan.place` is moved on; the rest is
    the beginning of a record. Nothing is done with only if a whole record did not fit into `size`.
    """
    cdef char *data = found.data + found.used
    cdef size_t at = 0
    cdef size_t kept = 0  # the end of the last record that is needed
    cdef tm_item_record *record
    cdef bint good
    while size - at >= sizeof(tm_item_record):
        record = <tm_item_record *>(data + at)
        good = record.place == scan.place + at and sizeof(tm_item_record) <= record.size_bytes <= TM_ITEM_RECORD_MOST_BYTES
        good = good and record.size_bytes & 7 == 0 and scan.place + at + record.size_bytes <= limit
        if good and record.size_bytes > size - at:
            break
        if good and scan.miss_count < MOST_MISSES:
            good = c_crc32c(<char *>record + 4, record.size_bytes - 4) == record.crc
            scan.miss_count += not good
        else:
            good = 0
        if good:
            c_take(found, record, found.used + at)
            scan.lost = 0
            at += record.size_bytes
            kept = at
            continue
        if not scan.lost:
            scan.lost = 1
            found.bad_count += 1
        at += 8
    found.used += kept
    scan.place += at
    return at
