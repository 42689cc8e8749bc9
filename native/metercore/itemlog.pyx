# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The item log: what the work says about its items, steps and messages, and never waits for anybody (layout: _c/itemlog.h).

Everything that may run Python code or fail is done before a record is begun.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_Clear
from libc.math cimport isfinite
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

from metercore._c.itemlog cimport (
    TM_ITEM_CHANGED,
    TM_ITEM_ERROR_BYTES,
    TM_ITEM_ID_BYTES,
    TM_ITEM_ID_JSON,
    TM_ITEM_ID_NONE,
    TM_ITEM_ID_NUMBER,
    TM_ITEM_ID_TEXT,
    TM_ITEM_MESSAGE,
    TM_ITEM_METADATA_BYTES,
    TM_ITEM_NAME_BYTES,
    TM_ITEM_STEP,
    TM_ITEM_TEXT_BYTES,
    tm_item_record,
)
from metercore._c.report cimport TM_REPORT_BYTES
from metercore.itemseries cimport (
    c_series_close,
    c_series_free,
    c_series_open,
    c_series_put,
    c_Text,
    c_Texts,
)

import os

cdef extern from "Python.h":
    const char *c_utf8 "PyUnicode_AsUTF8AndSize"(object text, Py_ssize_t *size)  # NULL with an exception set

cdef enum:
    MOST_STATUS = 6  # ITEM_STATUS_SKIPPED
    MOST_TYPE = 4    # STEP_EVENT_TYPE_FAIL
    MOST_LEVEL = 4   # MESSAGE_LEVEL_LOG
    ENTRY_BYTES = 4  # two lengths of metadata


def __getattr__(name):
    # The work does without them, and its start should not have to load them.
    if name == "Batch":
        from metercore.itembatch import Batch
        return Batch
    if name == "ItemLogReader":
        from metercore.itemread import ItemLogReader
        return ItemLogReader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


cdef inline size_t c_cut(const char *data, size_t size, size_t most) noexcept nogil:
    """How much of a text fits, in whole characters."""
    if size <= most:
        return size
    while most > 0 and (<uint8_t>data[most]) & 0xC0 == 0x80:
        most -= 1
    return most


cdef object c_take(object text, size_t most, c_Text *into):
    """Point to a text; return who owns what is pointed to, which is another if it cannot be encoded. Raises TypeError."""
    cdef Py_ssize_t size = 0
    if not isinstance(text, str):
        raise TypeError(f"a text is a str, not {type(text).__name__}")
    into.data = c_utf8(text, &size)
    if into.data == NULL:
        PyErr_Clear()
        text = text.encode("utf-8", "replace").decode()
        into.data = c_utf8(text, &size)
        if into.data == NULL:
            PyErr_Clear()
            raise MemoryError
    into.size = c_cut(into.data, <size_t>size, most)
    return text


cdef object c_name(object item_id, int64_t *number, tm_item_record *head, c_Text *into):
    """Point to the name of an item; return who owns it. Raises ValueError, TypeError."""
    if isinstance(item_id, str):
        item_id = c_take(item_id, <size_t>-1, into)
        head.id_kind = TM_ITEM_ID_TEXT
    elif isinstance(item_id, int):
        try:
            number[0] = item_id
        except OverflowError:
            raise ValueError("an item's number has 64 bits") from None
        into.data = <const char *>number
        into.size = sizeof(int64_t)
        head.id_kind = TM_ITEM_ID_NUMBER
    elif isinstance(item_id, bytes):
        into.data = PyBytes_AS_STRING(item_id)
        into.size = <size_t>PyBytes_GET_SIZE(item_id)
        head.id_kind = TM_ITEM_ID_JSON
        if into.size == 0:
            raise ValueError("an item needs a name")
    else:
        raise TypeError(f"an item's name is a str, an int or bytes of JSON, not {type(item_id).__name__}")
    if into.size > TM_ITEM_ID_BYTES:
        raise ValueError(f"an item's name has {into.size} bytes, more than {TM_ITEM_ID_BYTES}")
    return item_id


cdef inline void c_nothing(c_Text *text) noexcept nogil:
    text.data = b""
    text.size = 0


cdef size_t c_entries(object metadata, char *out) except? 0:
    """Write metadata as entries of two lengths, key and value; the first that does not fit is cut, the rest left out."""
    cdef size_t used = 0
    cdef c_Text key, value
    cdef uint16_t[2] sizes
    for name, content in metadata.items():
        name = c_take(str(name), TM_ITEM_METADATA_BYTES, &key)
        content = c_take(str(content), TM_ITEM_METADATA_BYTES, &value)
        if used + ENTRY_BYTES + key.size > TM_ITEM_METADATA_BYTES:
            break
        value.size = c_cut(value.data, value.size, TM_ITEM_METADATA_BYTES - used - ENTRY_BYTES - key.size)
        sizes[0] = <uint16_t>key.size
        sizes[1] = <uint16_t>value.size
        memcpy(out + used, sizes, ENTRY_BYTES)
        memcpy(out + used + ENTRY_BYTES, key.data, key.size)
        memcpy(out + used + ENTRY_BYTES + key.size, value.data, value.size)
        used += ENTRY_BYTES + key.size + value.size
    return used


cdef inline int c_code(int code, int most, str what) except -1:
    if not 1 <= code <= most:
        raise ValueError(f"{what} is 1 to {most}, not {code}")
    return code


cdef class ItemLog:
    def __cinit__(self, directory=None, *args, **kwargs):
        cdef bytes path
        cdef const char *name = NULL
        self.series.base = NULL
        self.series.directory = NULL
        self.report = ""
        if directory is not None:
            # Made absolute now: the work may go elsewhere later.
            path = os.fsencode(os.path.abspath(directory))
            if b"\0" not in path:
                name = path
                self.report = os.path.join(os.path.dirname(os.fsdecode(path)), "report")
        if c_series_open(&self.series, name) != 0:
            raise MemoryError

    def __dealloc__(self):
        c_series_free(&self.series)

    @property
    def shared(self):
        return self.series.base != NULL

    @property
    def dropped_count(self):
        return self.series.dropped_all

    cdef int c_put(self, tm_item_record *head, const c_Texts *texts) except -1:
        if c_series_put(&self.series, head, texts):
            return 0
        # The log may never have room again, or this process no time: the report block was given its room at the start.
        if self.report:
            if os.path.isfile(self.report) and os.path.getsize(self.report) == TM_REPORT_BYTES:
                from metercore.report import ReportBlock

                self.block = ReportBlock(self.report)
            self.report = ""
        if self.block is not None:
            self.block.drop()
        return 0

    def item(self, item_id not None, int status, stage="", int32_t attempt=0, error="",
             worker="", int64_t size=0, metadata=None):
        cdef tm_item_record head
        cdef c_Texts texts
        cdef int64_t number
        cdef char[4000] entries
        head.type = TM_ITEM_CHANGED
        head.code = <uint8_t>c_code(status, MOST_STATUS, "status")
        head.timed = 0
        head.value = size
        head.attempt = attempt
        item_id = c_name(item_id, &number, &head, &texts.id)
        stage = c_take(stage, TM_ITEM_NAME_BYTES, &texts.stage)
        worker = c_take(worker, TM_ITEM_NAME_BYTES, &texts.worker)
        error = c_take(error, TM_ITEM_ERROR_BYTES, &texts.error)
        c_nothing(&texts.step)
        c_nothing(&texts.metadata)
        if metadata is not None:
            texts.metadata.data = entries
            texts.metadata.size = c_entries(metadata, entries)
        self.c_put(&head, &texts)

    def step(self, item_id not None, step, int type, stage="", int32_t attempt=0,
             error="", worker="", duration_seconds=None):
        cdef tm_item_record head
        cdef c_Texts texts
        cdef int64_t number
        cdef double seconds
        head.type = TM_ITEM_STEP
        head.code = <uint8_t>c_code(type, MOST_TYPE, "type")
        head.timed = 0
        head.value = 0
        head.attempt = attempt
        if duration_seconds is not None:
            seconds = duration_seconds
            if isfinite(seconds) and seconds >= 0.0:
                head.timed = 1
                memcpy(&head.value, &seconds, sizeof(double))
        item_id = c_name(item_id, &number, &head, &texts.id)
        stage = c_take(stage, TM_ITEM_NAME_BYTES, &texts.stage)
        worker = c_take(worker, TM_ITEM_NAME_BYTES, &texts.worker)
        step = c_take(step, TM_ITEM_NAME_BYTES, &texts.step)
        error = c_take(error, TM_ITEM_ERROR_BYTES, &texts.error)
        c_nothing(&texts.metadata)
        self.c_put(&head, &texts)

    def message(self, int level, text):
        cdef tm_item_record head
        cdef c_Texts texts
        head.type = TM_ITEM_MESSAGE
        head.code = <uint8_t>c_code(level, MOST_LEVEL, "level")
        head.id_kind = TM_ITEM_ID_NONE
        head.timed = 0
        head.value = 0
        head.attempt = 0
        c_nothing(&texts.id)
        c_nothing(&texts.stage)
        c_nothing(&texts.worker)
        c_nothing(&texts.step)
        c_nothing(&texts.metadata)
        text = c_take(str(text), TM_ITEM_TEXT_BYTES, &texts.error)
        self.c_put(&head, &texts)

    def close(self):
        c_series_close(&self.series)
