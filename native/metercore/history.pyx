# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The history of an attempt as it is recorded: one sample a second into rings of 1 s, 10 s, 60 s, 15 min and 2 h.

Adding is memory work only. What is complete is written every ten seconds of the attempt's age, so attempts that started at
different times write at different times. Steps are counted from the first sample on a clock that never goes back: the
wall clock, or what the monotonic clock makes of it while that is set back.
"""

from libc.errno cimport ENOENT, errno
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from metercore._c.history cimport (
    TM_HISTORY_BYTES,
    TM_HISTORY_GAP,
    TM_HISTORY_TIERS,
    tm_history_head,
    tm_history_point,
)
from metercore._c.linux cimport O_CLOEXEC, O_CREAT, O_NOFOLLOW, O_RDWR, O_TRUNC, c_open, close, pwrite
from metercore.errors cimport raise_errno
from metercore.historyfile cimport (
    c_head_seal,
    c_history_load,
    c_image_answer,
    c_image_check,
    c_image_newest,
    c_image_point,
    c_image_put,
    c_point_offset,
    c_point_seal,
    c_step_fold,
    c_step_open,
    c_tier_ratio,
    c_tier_seconds,
)

import os

from metercore.historyfile import check_range

cdef uint64_t SECOND = 1000000000u
# Time servers slew by far less between two samples; more is a clock that was set, or a machine that was suspended.
cdef int64_t JUMP_NS = 500000000
# No sampler is that slow: what lies between is not known.
cdef uint64_t MOST_INTERVAL_NS = 300 * 1000000000u
cdef int64_t MOST_AGE_NS = 100 * 365 * 86400 * 1000000000
cdef uint64_t ABSENT = 0xFFFFFFFFFFFFFFFFu

# The file while it is being written: opened when there is something to write, closed when the sample is done.
cdef struct c_Writer:
    c_History *history
    const char *directory
    int descriptor
    bint failed


# ----------------------------------------------------------------------------------------------------------- writing


cdef void c_writer_open(c_Writer *writer) noexcept nogil:
    cdef char[4200] path
    cdef tm_history_head head
    cdef c_History *h = writer.history
    snprintf(path, 4200, b"%s/history", writer.directory)
    if h.has_head:
        writer.descriptor = c_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        if writer.descriptor >= 0 or errno != ENOENT:
            return
    h.has_head = 0
    writer.descriptor = c_open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    if writer.descriptor >= 0:
        memset(&head, 0, sizeof(head))
        head.created_realtime_ns = h.created_ns
        c_head_seal(&head)
        h.has_head = pwrite(writer.descriptor, &head, sizeof(head), 0) == <ssize_t>sizeof(head)


cdef void c_write(c_Writer *writer, const void *data, size_t size, size_t offset) noexcept nogil:
    """Write, or do without: a history with a hole is worth more than a task without its meter."""
    if writer.failed:
        return
    if writer.descriptor < 0:
        c_writer_open(writer)
    if writer.descriptor < 0 or not writer.history.has_head:
        writer.failed = 1
    elif pwrite(writer.descriptor, data, size, <int64_t>offset) != <ssize_t>size:
        writer.failed = 1


cdef void c_writer_close(c_Writer *writer) noexcept nogil:
    if writer.descriptor >= 0:
        close(writer.descriptor)


cdef void c_write_pending(c_Writer *writer) noexcept nogil:
    """Write the seconds of a group in one go; where one is missing in between, zeros say so."""
    cdef tm_history_point *pending = &writer.history.pending[0]
    cdef int first = -1
    cdef int last = -1
    cdef int n
    for n in range(HISTORY_GROUP):
        if pending[n].covered_seconds > 0.0:
            last = n
            if first < 0:
                first = n
    if first >= 0:
        c_write(
            writer,
            &pending[first],
            <size_t>(last - first + 1) * sizeof(tm_history_point),
            c_point_offset(0, pending[first].index),
        )


# ------------------------------------------------------------------------------------------------------------- steps


cdef void c_close_step(c_Writer *writer, int tier) noexcept nogil:
    """The step of a ring is over: keep it, and take it into the coarser ring's step, which may be over by that too."""
    cdef c_History *h = writer.history
    cdef c_HistoryStep *step = &h.steps[tier]
    cdef tm_history_point *point = &step.point
    cdef uint32_t ratio, index
    step.open = 0
    if not point.covered_seconds > 0.0:
        return
    c_point_seal(point)
    if tier > 0:
        c_write(writer, point, sizeof(tm_history_point), c_point_offset(tier, point.index))
    if tier == 1:
        c_write_pending(writer)
        memset(&h.pending, 0, sizeof(h.pending))
    if tier + 1 < <int>TM_HISTORY_TIERS:
        ratio = c_tier_ratio(tier + 1)
        index = point.index // ratio
        if h.steps[tier + 1].open and h.steps[tier + 1].point.index != index:
            c_close_step(writer, tier + 1)
        if not h.steps[tier + 1].open:
            c_step_open(&h.steps[tier + 1], tier + 1, index)
        c_step_fold(&h.steps[tier + 1], point)
        if tier == 0:
            h.pending[point.index % HISTORY_GROUP] = point[0]
        if point.index % ratio == ratio - 1:
            c_close_step(writer, tier + 1)


cdef void c_go_to(c_Writer *writer, uint32_t index) noexcept nogil:
    """Have the step of this second open."""
    cdef c_HistoryStep *step = &writer.history.steps[0]
    if step.open and step.point.index != index:
        c_close_step(writer, 0)
    if not step.open:
        c_step_open(step, 0, index)


cdef void c_leave_out(c_Writer *writer, uint64_t age_ns) noexcept nogil:
    """Go on at `age_ns` without a value for the time up to there."""
    cdef c_History *h = writer.history
    cdef uint32_t index = <uint32_t>(age_ns // SECOND)
    cdef int tier
    for tier in range(<int>TM_HISTORY_TIERS):
        if h.steps[tier].open:
            h.steps[tier].point.flags |= TM_HISTORY_GAP
    # Closed now, not when the next finer one is: by then the points they are made from may be out of reach.
    for tier in range(<int>TM_HISTORY_TIERS):
        if h.steps[tier].open and h.steps[tier].point.index != index // c_tier_seconds(tier):
            c_close_step(writer, tier)
    c_go_to(writer, index)
    h.steps[0].point.flags |= TM_HISTORY_GAP


cdef void c_record(c_Writer *writer, const c_HistorySample *s, uint64_t age_ns) noexcept nogil:
    """Spread what happened since the last sample evenly over the seconds that it touches."""
    cdef c_History *h = writer.history
    cdef tm_history_point one
    cdef uint64_t interval_ns = age_ns - h.age_ns
    cdef uint64_t at_ns = h.age_ns
    cdef uint64_t part_ns
    cdef double used_ns = <double>(s.cpu_ns - min(h.last_cpu_ns, s.cpu_ns))
    cdef float cores_high, memory_high
    memset(&one, 0, sizeof(one))
    one.cores = <float>min(used_ns / <double>interval_ns, s.most_cores)
    one.memory_bytes = <float>(0.5 * (<double>h.last_memory_bytes + <double>s.memory_bytes))
    one.gpu_memory_bytes = <float>NAN if s.gpu_memory_bytes == ABSENT else <float>s.gpu_memory_bytes
    one.gpu_utilization_percent = <float>NAN if s.gpu_utilization_percent < 0.0 else <float>s.gpu_utilization_percent
    one.rate_count_per_second = <float>s.rate_count_per_second
    one.rate_size_per_second = <float>s.rate_size_per_second
    cores_high = <float>max(h.cores_high, <double>one.cores)
    memory_high = <float>max(h.memory_high_bytes, max(h.last_memory_bytes, s.memory_bytes))
    while at_ns < age_ns:
        c_go_to(writer, <uint32_t>(at_ns // SECOND))
        part_ns = min((at_ns // SECOND + 1) * SECOND, age_ns) - at_ns
        one.covered_seconds = <float>(<double>part_ns * 1e-9)
        # A sample comes a moment after its second is over: its highest values are not of the second that has just begun.
        one.cores_max = cores_high if interval_ns > 2 * SECOND or 2 * part_ns >= interval_ns else one.cores
        one.memory_bytes_max = memory_high if interval_ns > 2 * SECOND or 2 * part_ns >= interval_ns else <float>s.memory_bytes
        c_step_fold(&h.steps[0], &one)
        at_ns += part_ns
    if age_ns % SECOND == 0:
        c_go_to(writer, <uint32_t>(age_ns // SECOND))


# ------------------------------------------------------------------------------------------------------------ resume


cdef void c_restore(c_History *h, const char *image) noexcept nogil:
    """Stand where the newest point ends, with the steps open that go on there, made from what is written of them."""
    cdef const tm_history_point *point
    cdef uint32_t newest = 0
    cdef uint32_t index, finer, over
    cdef int tier
    h.age_ns = 0
    for tier in range(1, <int>TM_HISTORY_TIERS):
        if c_image_newest(image, tier, &newest):
            h.age_ns = max(h.age_ns, (<uint64_t>newest + 1) * c_tier_seconds(tier) * SECOND)
    if c_image_newest(image, 0, &newest):
        point = c_image_point(image, 0, newest)
        h.age_ns = max(h.age_ns, <uint64_t>newest * SECOND + min(<uint64_t>(<double>point.covered_seconds * 1e9), SECOND))
        if newest == h.age_ns // SECOND:
            c_step_open(&h.steps[0], 0, newest)
            c_step_fold(&h.steps[0], point)
    for tier in range(1, <int>TM_HISTORY_TIERS):
        index = <uint32_t>(h.age_ns // SECOND // c_tier_seconds(tier))
        over = <uint32_t>(h.age_ns // SECOND // c_tier_seconds(tier - 1))
        finer = index * c_tier_ratio(tier)
        while finer < over:
            point = c_image_point(image, tier - 1, finer)
            if point != NULL:
                if not h.steps[tier].open:
                    c_step_open(&h.steps[tier], tier, index)
                c_step_fold(&h.steps[tier], point)
            finer += 1


cdef bint c_resume(c_History *h, const char *directory, const c_HistorySample *s) noexcept nogil:
    """Begin, or go on from the file: then what lies between is a gap. True if it goes on."""
    cdef char *image = <char *>calloc(1, TM_HISTORY_BYTES)
    cdef ssize_t got = c_history_load(directory, image) if image != NULL else 0
    h.created_ns = s.realtime_ns
    h.offset_ns = s.realtime_ns - <int64_t>s.monotonic_ns
    h.begun = 1
    if got > 0 and c_image_check(image, <size_t>got):
        if s.realtime_ns - (<tm_history_head *>image).created_realtime_ns < MOST_AGE_NS:
            h.has_head = 1
            h.created_ns = (<tm_history_head *>image).created_realtime_ns
            c_restore(h, image)
            # Set back since: time goes on from where the file ends.
            h.offset_ns = max(h.offset_ns, h.created_ns + <int64_t>h.age_ns - <int64_t>s.monotonic_ns)
    free(image)
    return h.has_head


cdef void c_history_add(c_History *h, const char *directory, const c_HistorySample *s) noexcept nogil:
    """Account what happened since the last sample; the first one says from where on."""
    cdef c_Writer writer
    cdef uint64_t age_ns
    cdef bint gap = s.gap
    cdef int64_t offset_ns = s.realtime_ns - <int64_t>s.monotonic_ns
    writer.history = h
    writer.directory = directory
    writer.descriptor = -1
    writer.failed = 0
    if not h.begun:
        gap = c_resume(h, directory, s)
    elif offset_ns - h.offset_ns > JUMP_NS:
        h.offset_ns = offset_ns
        gap = 1
    age_ns = <uint64_t>max(<int64_t>s.monotonic_ns + h.offset_ns - h.created_ns, <int64_t>h.age_ns)
    if gap or age_ns - h.age_ns > MOST_INTERVAL_NS:
        c_leave_out(&writer, age_ns)
    elif age_ns > h.age_ns:
        c_record(&writer, s, age_ns)
    c_writer_close(&writer)
    h.age_ns = age_ns
    h.last_cpu_ns = s.cpu_ns
    h.last_memory_bytes = s.memory_bytes
    h.cores_high = 0.0
    h.memory_high_bytes = 0
    h.due_ns = s.monotonic_ns + SECOND - age_ns % SECOND


cdef bint c_open_second(const c_History *h, tm_history_point *point) noexcept nogil:
    """Copy the second that is not over yet, as a point; 0 when there is nothing in it."""
    if not h.steps[0].open or not h.steps[0].point.covered_seconds > 0.0:
        return 0
    point[0] = h.steps[0].point
    c_point_seal(point)
    return 1


cdef void c_history_flush(c_History *h, const char *directory) noexcept nogil:
    """Write what is not written yet, the second that is not over included; nothing for an attempt of under a second."""
    cdef c_Writer writer
    cdef tm_history_point point
    if not h.begun or (not h.has_head and h.age_ns < SECOND):
        return
    writer.history = h
    writer.directory = directory
    writer.descriptor = -1
    writer.failed = 0
    c_write_pending(&writer)
    if c_open_second(h, &point):
        c_write(&writer, &point, sizeof(point), c_point_offset(0, point.index))
    c_writer_close(&writer)


# ----------------------------------------------------------------------------------------------------------- reading


cdef object c_history_answer(
    const c_History *h, const char *directory, double from_time, double to_time, double resolution_seconds
):
    """Return (seconds per step, points) of the file with what is not written yet laid over it."""
    cdef tm_history_head head
    cdef tm_history_point point
    cdef char *image
    cdef ssize_t got
    cdef int n
    image = <char *>calloc(1, TM_HISTORY_BYTES)
    if image == NULL:
        raise MemoryError
    try:
        with nogil:
            got = c_history_load(directory, image)
            if got > 0 and not c_image_check(image, <size_t>got):
                memset(image, 0, TM_HISTORY_BYTES)
                got = 0
            if got == 0:
                memset(&head, 0, sizeof(head))
                head.created_realtime_ns = h.created_ns
                c_head_seal(&head)
                (<tm_history_head *>image)[0] = head
            if h.begun:
                for n in range(HISTORY_GROUP):
                    if h.pending[n].covered_seconds > 0.0:
                        c_image_put(image, &h.pending[n])
                if c_open_second(h, &point):
                    c_image_put(image, &point)
        if got < 0:
            raise_errno(<int>-got, os.fsdecode(directory))
        return c_image_answer(image, from_time, to_time, resolution_seconds)
    finally:
        free(image)


cdef class History:
    """Record a history in an attempt directory, as the sampler does for each of its slots.

    Goes on from the file if there is one; the time since its last point is a gap. Means over a second spread what a sample
    adds evenly over the time since the sample before.
    """

    def __cinit__(self, directory not None):
        memset(&self.c, 0, sizeof(self.c))
        self.directory = os.fsencode(directory)

    def add(
        self,
        int64_t realtime_ns,
        uint64_t monotonic_ns,
        uint64_t cpu_ns,
        uint64_t memory_bytes,
        *,
        gpu_memory_bytes=None,
        gpu_utilization_percent=None,
        double rate_count_per_second=0.0,
        double rate_size_per_second=0.0,
        double most_cores=float("inf"),
        bint gap=False,
    ):
        """Account the totals as of both clocks; the first call says from where on."""
        cdef c_HistorySample s
        s.realtime_ns = realtime_ns
        s.monotonic_ns = monotonic_ns
        s.cpu_ns = cpu_ns
        s.memory_bytes = memory_bytes
        s.gpu_memory_bytes = ABSENT if gpu_memory_bytes is None else gpu_memory_bytes
        s.gpu_utilization_percent = -1.0 if gpu_utilization_percent is None else gpu_utilization_percent
        s.rate_count_per_second = rate_count_per_second
        s.rate_size_per_second = rate_size_per_second
        s.most_cores = most_cores
        s.gap = gap
        c_history_add(&self.c, self.directory, &s)

    def note(self, double cores, uint64_t memory_bytes=0):
        """Let the next sample know of higher values in between."""
        self.c.cores_high = max(self.c.cores_high, cores)
        self.c.memory_high_bytes = max(self.c.memory_high_bytes, memory_bytes)

    def flush(self):
        """Write what is not written yet; nothing while it lasts under a second."""
        c_history_flush(&self.c, self.directory)

    def read(self, double from_time=0.0, double to_time=0.0, double resolution_seconds=0.0):
        """Return what `read_history` does, with what is not written yet."""
        check_range(from_time, to_time, resolution_seconds)
        return c_history_answer(&self.c, self.directory, from_time, to_time, resolution_seconds)
