# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What was read of an item log at one time: events, and the states of items that follow from them."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from metercore._c.itemlog cimport TM_ITEM_ID_NUMBER, TM_ITEM_ID_TEXT, tm_item_record
from metercore.itemframe cimport c_Common, c_frame, c_frame_most
from metercore.itemscan cimport c_found_free
from metercore.wire cimport c_set_text, c_tag, c_text, c_varint

cdef enum:
    KIND_ITEM = 2
    KIND_MESSAGE = 4
    ENTRY_BYTES = 4

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)


cdef class _Touched:
    """What the events of a batch say about one item."""

    cdef const tm_item_record *last       # change; NULL while there were only steps
    cdef const tm_item_record *step
    cdef const tm_item_record *described  # with metadata
    cdef int64_t size
    cdef list indexes


cdef inline str c_string(const char *text, size_t size):
    # Repaired when it was read; "replace" because nothing may fail here.
    return <str>PyUnicode_DecodeUTF8(text, <Py_ssize_t>size, b"replace")


cdef inline const char *c_texts(const tm_item_record *record) noexcept nogil:
    return <const char *>record + sizeof(tm_item_record)


cdef inline double c_seconds(const tm_item_record *record) noexcept nogil:
    return <double>record.time_ns / 1e9


cdef bytes c_key(const tm_item_record *record):
    cdef const char *text = c_texts(record)
    cdef int64_t number
    cdef bytes key
    if record.id_kind == TM_ITEM_ID_NUMBER:
        memcpy(&number, text, sizeof(int64_t))
        return b"i%d" % number
    key = PyBytes_FromStringAndSize(NULL, 1 + <Py_ssize_t>record.id_bytes)
    PyBytes_AS_STRING(key)[0] = c's' if record.id_kind == TM_ITEM_ID_TEXT else c'j'
    memcpy(PyBytes_AS_STRING(key) + 1, text, record.id_bytes)
    return key


cdef str c_metadata(const tm_item_record *record):
    """As a JSON object."""
    cdef const char *at = c_texts(record) + record.id_bytes + record.stage_bytes + record.worker_bytes + record.error_bytes
    cdef const char *end = at + record.metadata_bytes
    cdef uint16_t[2] sizes
    found = {}
    while at < end:
        memcpy(sizes, at, ENTRY_BYTES)
        at += ENTRY_BYTES
        found[c_string(at, sizes[0])] = c_string(at + sizes[0], sizes[1])
        at += <size_t>sizes[0] + sizes[1]
    import json
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


cdef tuple c_state(bytes key, _Touched touched):
    cdef const tm_item_record *last = touched.last
    cdef const char *stage
    cdef const char *worker
    indexes = tuple(touched.indexes)
    if last == NULL:
        return key, "", 0, 0, "", "", 0, "", c_seconds(touched.step), indexes
    stage = c_texts(last) + last.id_bytes
    worker = stage + last.stage_bytes
    return (
        key,
        c_string(stage, last.stage_bytes),
        last.code,
        last.attempt,
        c_string(worker + last.worker_bytes, last.error_bytes),
        c_string(worker, last.worker_bytes),
        touched.size,
        c_metadata(touched.described) if touched.described != NULL else "",
        c_seconds(last),
        indexes,
    )


cdef bytes c_common(str token, int64_t attempt, dict tags):
    """Encode what all events of a task have in common: token (3), attempt (4), tags (5)."""
    cdef bytes name = token.encode()
    cdef bytes key, value
    cdef uint8_t *out
    cdef uint8_t *at
    cdef list entries = sorted([(str(tag).encode(), str(content).encode()) for tag, content in tags.items()])
    cdef size_t most = <size_t>len(name) + 32
    for key, value in entries:
        most += <size_t>len(key) + <size_t>len(value) + 32
    out = <uint8_t *>malloc(most)
    if out == NULL:
        raise MemoryError
    at = c_text(out, 3, name, <size_t>len(name))
    if attempt != 0:
        at = c_varint(c_tag(at, 4, 0), <unsigned long long>attempt)
    for key, value in entries:
        at = c_entry(at, key, value)
    try:
        return PyBytes_FromStringAndSize(<char *>out, at - out)
    finally:
        free(out)


cdef uint8_t *c_entry(uint8_t *at, bytes key, bytes value):
    cdef uint8_t[10] size
    cdef size_t whole = <size_t>len(key) + <size_t>len(value) + 2
    whole += <size_t>(c_varint(size, <size_t>len(key)) - size) + <size_t>(c_varint(size, <size_t>len(value)) - size)
    at = c_varint(c_tag(at, 5, 2), whole)
    at = c_set_text(at, 1, key, <size_t>len(key))
    return c_set_text(at, 2, value, <size_t>len(value))


cdef class Batch:
    def __cinit__(self):
        self.offsets = {}

    def __dealloc__(self):
        c_found_free(&self.found)

    cdef const tm_item_record *c_record(self, size_t index) noexcept nogil:
        return <const tm_item_record *>(self.found.data + self.found.starts[index])

    @property
    def count(self):
        return self.found.count

    @property
    def kinds(self):
        return PyBytes_FromStringAndSize(<char *>self.found.kinds, <Py_ssize_t>self.found.count)

    @property
    def last_time(self):
        return c_seconds(self.c_record(self.found.count - 1)) if self.found.count else 0.0

    @property
    def bad_count(self):
        return self.found.bad_count

    @property
    def dropped_count(self):
        return self.found.dropped_count

    def frames(self, int64_t first_seq, str token not None, int64_t attempt, tags not None):
        cdef bytes common = c_common(token, attempt, dict(tags))
        cdef c_Common shared
        cdef uint8_t *out
        cdef uint8_t *at
        cdef size_t most = 1
        cdef size_t n
        shared.data = common
        shared.size = <size_t>len(common)
        with nogil:
            for n in range(self.found.count):
                most += c_frame_most(self.c_record(n), &shared)
            out = <uint8_t *>malloc(most)
            at = out
            if out != NULL:
                for n in range(self.found.count):
                    at = c_frame(at, self.c_record(n), first_seq + <int64_t>n, &shared)
        if out == NULL:
            raise MemoryError
        try:
            return PyBytes_FromStringAndSize(<char *>out, at - out)
        finally:
            free(out)

    def items(self):
        cdef dict touched = {}
        cdef const tm_item_record *record
        cdef _Touched item
        cdef bytes key
        cdef size_t n
        for n in range(self.found.count):
            if self.found.kinds[n] == KIND_MESSAGE:
                continue
            record = self.c_record(n)
            key = c_key(record)
            item = <_Touched>touched.get(key)
            if item is None:
                item = _Touched()
                item.indexes = []
                touched[key] = item
            item.indexes.append(n)
            if self.found.kinds[n] != KIND_ITEM:
                item.step = record
                continue
            item.last = record
            if record.value > 0:
                item.size = record.value
            if record.metadata_bytes > 0:
                item.described = record
        return [c_state(<bytes>name, <_Touched>each) for name, each in touched.items()]

    def messages(self):
        cdef const tm_item_record *record
        cdef size_t n
        found = []
        for n in range(self.found.count):
            if self.found.kinds[n] == KIND_MESSAGE:
                record = self.c_record(n)
                found.append((record.code, c_string(c_texts(record), record.error_bytes), c_seconds(record)))
        return found
