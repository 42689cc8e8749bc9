# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Events of the item log as they go over the wire: StreamEventsResponse.events (numbers: protos/taskmeter/v1/event.proto).

Fields stand in ascending order, and the entries of a map in that of their keys, as generated code writes them deterministically.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memcpy

from metercore._c.itemlog cimport (
    TM_ITEM_CHANGED,
    TM_ITEM_ID_NUMBER,
    TM_ITEM_ID_TEXT,
    TM_ITEM_MESSAGE,
    tm_item_record,
)
from metercore.wire cimport (
    c_double,
    c_nested,
    c_set_double,
    c_set_text,
    c_tag,
    c_text,
    c_varint,
    c_varint_bytes,
)

cdef enum:
    ENTRY_BYTES = 4
    MOST_ENTRIES = 1000  # TM_ITEM_METADATA_BYTES / ENTRY_BYTES
    # An entry of a map has nine bytes of tags and lengths at most, where the log has four.
    MORE_PER_ENTRY = 5
    # Tags, lengths and numbers of all other fields, at most: 20 of them, of 11 bytes.
    FIXED_BYTES = 220
    # The largest payload: a record and what is said more of its entries.
    PAYLOAD_BYTES = 14000  # TM_ITEM_RECORD_MOST_BYTES + MOST_ENTRIES * MORE_PER_ENTRY + FIXED_BYTES

cdef struct c_Entry:
    const char *key
    const char *value
    uint16_t key_bytes
    uint16_t value_bytes


cdef inline uint8_t *c_whole(uint8_t *at, int number, int64_t value) noexcept nogil:
    """An int32, int64 or enum; a negative one has ten bytes."""
    return c_varint(c_tag(at, number, 0), <uint64_t>value) if value != 0 else at


cdef uint8_t *c_item_id(uint8_t *at, const tm_item_record *record, const char *text) noexcept nogil:
    cdef uint8_t[1040] body
    cdef uint8_t *end
    cdef int64_t number
    if record.id_kind == TM_ITEM_ID_NUMBER:
        memcpy(&number, text, sizeof(int64_t))
        end = c_varint(c_tag(body, 2, 0), <uint64_t>number)
    else:
        end = c_set_text(body, 1 if record.id_kind == TM_ITEM_ID_TEXT else 3, text, record.id_bytes)
    return c_nested(at, 1, body, <size_t>(end - body))


cdef int c_order(const void *one, const void *other) noexcept nogil:
    """By key; equal keys as they stand in the log."""
    cdef const c_Entry *a = <const c_Entry *>one
    cdef const c_Entry *b = <const c_Entry *>other
    cdef int found = memcmp(a.key, b.key, min(a.key_bytes, b.key_bytes))
    if found != 0:
        return found
    if a.key_bytes != b.key_bytes:
        return -1 if a.key_bytes < b.key_bytes else 1
    return -1 if a.key < b.key else 1


cdef uint8_t *c_metadata(uint8_t *at, int number, const char *text, size_t size) noexcept nogil:
    """A map<string, string>: key and value are written whatever they are; of equal keys the last counts."""
    cdef c_Entry[MOST_ENTRIES] entries
    cdef uint16_t[2] sizes
    cdef const c_Entry *entry
    cdef size_t used = 0
    cdef size_t body
    cdef int count = 0
    cdef int n
    while used < size and count < MOST_ENTRIES:
        memcpy(sizes, text + used, ENTRY_BYTES)
        used += ENTRY_BYTES
        entries[count] = c_Entry(text + used, text + used + sizes[0], sizes[0], sizes[1])
        used += <size_t>sizes[0] + sizes[1]
        count += 1
    if count > 1:
        qsort(entries, <size_t>count, sizeof(c_Entry), c_order)
    for n in range(count):
        entry = &entries[n]
        if n + 1 < count and entry.key_bytes == entries[n + 1].key_bytes:
            if memcmp(entry.key, entries[n + 1].key, entry.key_bytes) == 0:
                continue
        body = 2 + c_varint_bytes(entry.key_bytes) + entry.key_bytes + c_varint_bytes(entry.value_bytes) + entry.value_bytes
        at = c_varint(c_tag(at, number, 2), body)
        at = c_set_text(at, 1, entry.key, entry.key_bytes)
        at = c_set_text(at, 2, entry.value, entry.value_bytes)
    return at


cdef size_t c_payload(const tm_item_record *record, uint8_t *out) noexcept nogil:
    cdef const char *name = <const char *>record + sizeof(tm_item_record)
    cdef const char *stage = name + record.id_bytes
    cdef const char *worker = stage + record.stage_bytes
    cdef const char *step = worker + record.worker_bytes
    cdef const char *error = step + record.step_bytes
    cdef uint8_t *at = out
    cdef double seconds
    if record.type == TM_ITEM_MESSAGE:
        at = c_whole(at, 1, record.code)
        at = c_text(at, 2, error, record.error_bytes)
        return <size_t>(at - out)
    at = c_item_id(at, record, name)
    at = c_text(at, 2, stage, record.stage_bytes)
    if record.type == TM_ITEM_CHANGED:
        at = c_whole(at, 3, record.code)
        at = c_whole(at, 4, record.attempt)
        at = c_text(at, 5, error, record.error_bytes)
        at = c_text(at, 6, worker, record.worker_bytes)
        at = c_whole(at, 7, record.value)
        at = c_metadata(at, 8, error + record.error_bytes, record.metadata_bytes)
        return <size_t>(at - out)
    at = c_text(at, 3, step, record.step_bytes)
    at = c_whole(at, 4, record.code)
    at = c_whole(at, 5, record.attempt)
    at = c_text(at, 6, error, record.error_bytes)
    if record.timed:
        memcpy(&seconds, &record.value, sizeof(double))
        at = c_set_double(at, 7, seconds)
    at = c_text(at, 8, worker, record.worker_bytes)
    return <size_t>(at - out)


cdef size_t c_frame_most(const tm_item_record *record, const c_Common *common) noexcept nogil:
    """How many bytes a frame has at most."""
    return record.size_bytes + common.size + FIXED_BYTES + record.metadata_bytes // ENTRY_BYTES * MORE_PER_ENTRY


cdef uint8_t *c_frame(uint8_t *at, const tm_item_record *record, int64_t seq, const c_Common *common) noexcept nogil:
    """Write a sound record as event number `seq`, within `c_frame_most` bytes."""
    cdef uint8_t[PAYLOAD_BYTES] payload
    cdef uint8_t[24] begin
    cdef uint8_t *end
    cdef size_t size = c_payload(record, payload)
    cdef size_t head, whole
    end = c_whole(begin, 1, seq)
    end = c_double(end, 2, <double>record.time_ns / 1e9)
    head = <size_t>(end - begin)
    whole = head + common.size + 1 + c_varint_bytes(size) + size
    at = c_varint(c_tag(at, 1, 2), whole)
    memcpy(at, begin, head)
    memcpy(at + head, common.data, common.size)
    at += head + common.size
    # ItemChanged, StepEvent and Message are fields 7, 8 and 9; types are numbered alike.
    return c_nested(at, 6 + record.type, payload, size)
