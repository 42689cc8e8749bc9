# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The daemon's side of the item log: takes what the work wrote, and believes nothing of it (layout: _c/itemlog.h).

Why order holds: of one writer's segments the heads are read from the last to the first, and each is closed before its successor
is begun. So what is known to be in a segment is younger than all that is then found in those before it.
"""

from libc.errno cimport EINTR, ELOOP, ENOENT, ENOTDIR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from metercore._c.file cimport unlinkat
from metercore._c.itemlog cimport (
    TM_ITEM_RECORD_MOST_BYTES,
    TM_ITEMS_HEAD_BYTES,
    TM_ITEMS_MOST_BYTES,
    tm_item_record,
)
from metercore._c.linux cimport O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, c_open, close, pread
from metercore.errors cimport raise_errno
from metercore.itembatch cimport Batch
from metercore.itemfiles cimport (
    NAME_BYTES,
    c_Files,
    c_files_add,
    c_files_close,
    c_files_drop_gone,
    c_files_list,
    c_files_open,
    c_files_sort,
    c_is_one_series,
    c_parse_name,
    c_Segment,
    c_segment_look,
    c_segment_open,
    c_write_name,
)
from metercore.itemscan cimport c_Found, c_found_open, c_scan

import os

cdef enum:
    LEAST_BYTES = 16384      # of a batch, and of what a writer may say before it is the next one's turn: two records
    MOST_BYTES = 0x4000000   # of a batch: offsets in it have 32 bits


cdef bint c_is_first(const c_Files *files, size_t n) noexcept nogil:
    """Does a series begin with this segment?"""
    return n == 0 or not c_is_one_series(&files.segments[n - 1], &files.segments[n])


cdef uint64_t c_look(c_Files *files, int directory, bint ended) noexcept nogil:
    """Find the ends of all segments, of each series from the last to the first; how many bytes are new."""
    cdef c_Segment *segment
    cdef uint64_t total = 0
    cdef size_t n
    for n in range(files.count):
        segment = &files.segments[files.count - 1 - n]
        segment.ahead = segment.durable
        c_segment_look(files, segment, directory, ended)
        total += segment.limit - segment.ahead.place
        segment.finished = segment.final and not segment.blocked and segment.limit == segment.ahead.place
    return total


cdef bint c_take(c_Segment *segment, int directory, c_Found *found, size_t most) noexcept nogil:
    """Take up to about `most` bytes of a segment; 0 when the batch has no room for a record more."""
    cdef size_t left = <size_t>(segment.limit - segment.ahead.place)
    cdef size_t want = min(left, min(most, found.room - found.used))
    cdef bint kept = 0
    cdef ssize_t got = 0
    cdef int descriptor
    if left >= sizeof(tm_item_record):
        if want < min(left, <size_t>TM_ITEM_RECORD_MOST_BYTES):
            return 0
        descriptor = c_segment_open(segment, directory, &kept)
        if descriptor < 0:
            segment.blocked = 1
            return 1
        while True:
            got = pread(descriptor, found.data + found.used, want, <int64_t>segment.ahead.place)
            if got >= 0 or errno != EINTR:
                break
        if not kept:
            close(descriptor)
        if got < 0:
            segment.blocked = 1
            return 1
        if <size_t>got < want:
            # It became shorter meanwhile.
            segment.limit = segment.ahead.place + (<uint64_t>got & ~<uint64_t>7)
        c_scan(found, &segment.ahead, <size_t>got & ~<size_t>7, segment.limit)
    left = <size_t>(segment.limit - segment.ahead.place)
    if 0 < left < sizeof(tm_item_record):
        # Too little for a record, and its end is published: it is none.
        found.bad_count += not segment.ahead.lost
        segment.ahead.lost = 1
        segment.ahead.place = segment.limit
    segment.finished = segment.final and segment.ahead.place == segment.limit
    return 1


cdef bint c_take_series(c_Files *files, size_t first, int directory, c_Found *found, size_t most, bint *full) noexcept nogil:
    """Take some of one series, in order; was there anything?"""
    cdef size_t n = first
    cdef uint64_t before
    while n < files.count and (n == first or not c_is_first(files, n)) and not files.segments[n].blocked:
        before = files.segments[n].ahead.place
        if before < files.segments[n].limit:
            full[0] = not c_take(&files.segments[n], directory, found, most)
            return not full[0]
        n += 1
    return 0


cdef void c_read(c_Files *files, int directory, c_Found *found, size_t turn) noexcept nogil:
    """Fill the batch, beginning with the series at or after segment `turn`, a share for each in turns."""
    cdef size_t series = 0
    cdef size_t share, n, at
    cdef bint full = 0
    cdef bint more = 1
    for n in range(files.count):
        series += c_is_first(files, n)
    share = max(found.room // max(series, <size_t>1), <size_t>LEAST_BYTES)
    while more and not full:
        more = 0
        for n in range(files.count):
            at = (n + turn) % files.count
            if c_is_first(files, at):
                more |= c_take_series(files, at, directory, found, share, &full)
                if full:
                    break


cdef class ItemLogReader:
    cdef c_Files files
    cdef bytes directory
    cdef list gone       # names that the next commit tells
    cdef size_t turn     # whose turn it is
    cdef bint closed

    def __cinit__(self, directory not None, offsets=None):
        cdef c_Segment segment
        c_files_open(&self.files)
        self.directory = os.fsencode(directory)
        self.gone = []
        if b"\0" in self.directory:
            raise ValueError("a path has no NUL byte")
        for name, offset in dict(offsets or {}).items():
            if c_parse_name(os.fsencode(name), &segment):
                # What is beyond the largest segment is its end.
                place = min(max(int(offset), TM_ITEMS_HEAD_BYTES), TM_ITEMS_MOST_BYTES)
                segment.durable.place = segment.ahead.place = <uint64_t>place & ~<uint64_t>7
                c_files_add(&self.files, &segment)
        c_files_sort(&self.files)

    def __dealloc__(self):
        c_files_close(&self.files)

    cdef int c_enter(self) except? -1:
        """Open the directory; -1 if there is none."""
        cdef const char *path = self.directory
        cdef int descriptor
        if self.closed:
            raise ValueError("the reader is closed")
        with nogil:
            descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
        if descriptor < 0 and errno not in (ENOENT, ENOTDIR, ELOOP):
            raise_errno(errno, self.directory)
        return descriptor

    cdef void c_remove(self, int directory):
        """Remove what is read to its end, durably; take note of what is gone."""
        cdef char[NAME_BYTES] name
        cdef c_Segment *segment
        cdef size_t n
        for n in range(self.files.count):
            segment = &self.files.segments[n]
            c_write_name(segment, name)
            if segment.finished and segment.ahead.place == segment.durable.place and not segment.gone:
                with nogil:
                    segment.gone = unlinkat(directory, name, 0) == 0 or errno == ENOENT
            if segment.gone:
                self.gone.append(name.decode())
        c_files_drop_gone(&self.files)

    def read(self, size_t most_bytes=1 << 20, bint ended=False):
        cdef Batch batch = None
        cdef c_Files *files = &self.files
        cdef c_Found *found
        cdef uint64_t total = 0
        cdef size_t room
        cdef int error = 0
        cdef int directory = self.c_enter()
        if directory < 0:
            return None
        try:
            with nogil:
                error = c_files_list(files, directory)
            if error < 0:
                raise_errno(-error, self.directory)
            self.c_remove(directory)
            with nogil:
                total = c_look(files, directory, ended)
            if total > 0:
                batch = Batch()
                found = &batch.found
                room = min(max(most_bytes, <size_t>LEAST_BYTES), max(<size_t>total, <size_t>LEAST_BYTES), <size_t>MOST_BYTES)
                if c_found_open(found, room) != 0:
                    raise MemoryError
                with nogil:
                    c_read(files, directory, found, self.turn % files.count)
                self.turn += 1
            self.c_remove(directory)
        finally:
            close(directory)
        if batch is not None:
            self.c_tell(batch)
            if not batch.offsets:
                return None
        return batch

    cdef int c_tell(self, Batch batch) except -1:
        cdef char[NAME_BYTES] name
        cdef c_Segment *segment
        cdef size_t n
        for n in range(self.files.count):
            segment = &self.files.segments[n]
            if segment.ahead.place != segment.durable.place:
                c_write_name(segment, name)
                batch.offsets[name.decode()] = segment.ahead.place
        return 0

    def commit(self):
        cdef int directory = self.c_enter()
        cdef size_t n
        for n in range(self.files.count):
            self.files.segments[n].durable = self.files.segments[n].ahead
        if directory >= 0:
            try:
                self.c_remove(directory)
            finally:
                close(directory)
        gone, self.gone = self.gone, []
        return gone

    def close(self):
        self.closed = True
        c_files_close(&self.files)
