# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The file of an attempt's history (layout: _c/history.h): where a point lies, whether it is whole, and reading a range.

A file is read into memory in one call and every point of it is checked there; what is torn, garbled or in a wrong place is
missing from the answer. The steps of a coarser ring that are not over yet are made from the finer ring.
"""

from libc.errno cimport EISDIR, ELOOP, ENOENT, ENOTDIR, errno
from libc.math cimport NAN, isfinite, isnan
from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from metercore._c.history cimport (
    TM_HISTORY_BYTES,
    TM_HISTORY_GAP,
    TM_HISTORY_HEAD_BYTES,
    TM_HISTORY_MAGIC,
    TM_HISTORY_POINTS,
    TM_HISTORY_TIERS,
    TM_HISTORY_VERSION,
    tm_history_head,
    tm_history_point,
)
from metercore._c.linux cimport O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_ISREG, c_open, c_stat, close, fstat, pread
from metercore.crc cimport c_crc32
from metercore.errors cimport raise_errno

import math
import os
from typing import NamedTuple


cdef extern from *:
    """
    #define TM_HISTORY_HEAD_CRC_AT offsetof(struct tm_history_head, created_realtime_ns)
    #define TM_HISTORY_POINT_CRC_BYTES offsetof(struct tm_history_point, crc)
    """
    size_t TM_HISTORY_HEAD_CRC_AT
    size_t TM_HISTORY_POINT_CRC_BYTES

cdef uint32_t[TM_HISTORY_TIERS] c_seconds = [1, 10, 60, 900, 7200]
cdef uint32_t[TM_HISTORY_TIERS] c_count = [300, 360, 1440, 300, 264]
cdef uint32_t[TM_HISTORY_TIERS] c_before = [0, 300, 660, 2100, 2400]  # points of the rings before
# Longer than any attempt lasts; keeps times within 64 bits of nanoseconds.
cdef double MOST_SECONDS = 100.0 * 365.0 * 86400.0
cdef double MOST_BYTES = 1e18

TIERS = tuple((c_seconds[n], c_count[n]) for n in range(<int>TM_HISTORY_TIERS))


class HistoryPoint(NamedTuple):
    """Use over one step: means, and the highest where it matters; None = not measured."""

    time: float
    covered_seconds: float
    cpu_cores: float
    cpu_cores_max: float
    memory_bytes: int
    memory_bytes_max: int
    gpu_memory_bytes: int | None
    gpu_utilization_percent: float | None
    rate_count_per_second: float
    rate_size_per_second: float
    gap: bool


# ------------------------------------------------------------------------------------------------------------ layout


cdef uint32_t c_tier_seconds(int tier) noexcept nogil:
    return c_seconds[tier]


cdef uint32_t c_tier_count(int tier) noexcept nogil:
    return c_count[tier]


cdef uint32_t c_tier_ratio(int tier) noexcept nogil:
    """How many steps of the finer ring make one of this."""
    return c_seconds[tier] // c_seconds[tier - 1] if tier > 0 else 1


cdef size_t c_point_offset(int tier, uint32_t index) noexcept nogil:
    return TM_HISTORY_HEAD_BYTES + (c_before[tier] + index % c_count[tier]) * sizeof(tm_history_point)


cdef void c_head_seal(tm_history_head *head) noexcept nogil:
    head.magic = TM_HISTORY_MAGIC
    head.version = TM_HISTORY_VERSION
    head.crc = c_crc32(<const char *>head + TM_HISTORY_HEAD_CRC_AT, sizeof(tm_history_head) - TM_HISTORY_HEAD_CRC_AT)


cdef void c_point_seal(tm_history_point *point) noexcept nogil:
    point.crc = c_crc32(point, TM_HISTORY_POINT_CRC_BYTES)


cdef bint c_is_amount(double value, double most) noexcept nogil:
    return isfinite(value) and 0.0 <= value <= most


cdef bint c_is_whole(const tm_history_point *point, int tier, uint32_t place) noexcept nogil:
    """Tell whether a point is what was written there; a CRC keeps out accidents, the rest keeps out what no CRC does."""
    if point.tier != tier or point.index % c_count[tier] != place:
        return 0
    if point.crc != c_crc32(point, TM_HISTORY_POINT_CRC_BYTES):
        return 0
    if <double>point.index * c_seconds[tier] > MOST_SECONDS:
        return 0
    if not (c_is_amount(point.covered_seconds, 1.01 * c_seconds[tier]) and point.covered_seconds > 0.0):
        return 0
    if not (c_is_amount(point.memory_bytes, MOST_BYTES) and c_is_amount(point.memory_bytes_max, MOST_BYTES)):
        return 0
    if not (isnan(point.gpu_memory_bytes) or c_is_amount(point.gpu_memory_bytes, MOST_BYTES)):
        return 0
    if not (isnan(point.gpu_utilization_percent) or c_is_amount(point.gpu_utilization_percent, 1e9)):
        return 0
    return (
        c_is_amount(point.cores, 1e9)
        and c_is_amount(point.cores_max, 1e9)
        and c_is_amount(point.rate_count_per_second, 1e30)
        and c_is_amount(point.rate_size_per_second, 1e30)
    )


# ------------------------------------------------------------------------------------------------------------- means


cdef void c_step_open(c_HistoryStep *step, int tier, uint32_t index) noexcept nogil:
    memset(step, 0, sizeof(c_HistoryStep))
    step.open = 1
    step.point.tier = <unsigned char>tier
    step.point.index = index
    step.point.gpu_memory_bytes = <float>NAN
    step.point.gpu_utilization_percent = <float>NAN


cdef void c_mean(float *mean, float *seconds, float value, float more_seconds) noexcept nogil:
    """Take a value that held for some time into a mean over `seconds`; NaN = not measured."""
    if isnan(value):
        return
    seconds[0] += more_seconds
    if isnan(mean[0]):
        mean[0] = value
    elif seconds[0] > 0.0:
        mean[0] += (value - mean[0]) * (more_seconds / seconds[0])


cdef void c_step_fold(c_HistoryStep *step, const tm_history_point *one) noexcept nogil:
    """Take a finer point into a step: means weigh by the time they cover."""
    cdef tm_history_point *into = &step.point
    cdef float share
    into.flags |= one.flags
    if not one.covered_seconds > 0.0:
        return
    into.covered_seconds += one.covered_seconds
    share = one.covered_seconds / into.covered_seconds
    into.cores += (one.cores - into.cores) * share
    into.memory_bytes += (one.memory_bytes - into.memory_bytes) * share
    into.rate_count_per_second += (one.rate_count_per_second - into.rate_count_per_second) * share
    into.rate_size_per_second += (one.rate_size_per_second - into.rate_size_per_second) * share
    c_mean(&into.gpu_memory_bytes, &step.gpu_memory_seconds, one.gpu_memory_bytes, one.covered_seconds)
    c_mean(&into.gpu_utilization_percent, &step.gpu_utilization_seconds, one.gpu_utilization_percent, one.covered_seconds)
    into.cores_max = max(into.cores_max, max(one.cores_max, one.cores))
    into.memory_bytes_max = max(into.memory_bytes_max, max(one.memory_bytes_max, one.memory_bytes))


# ------------------------------------------------------------------------------------------------------------- image


cdef ssize_t c_history_load(const char *directory, char *image) noexcept nogil:
    """Read the file into TM_HISTORY_BYTES of zeroed memory; its bytes, 0 when there is no such file, or -errno."""
    cdef char[4200] path
    cdef c_stat facts
    cdef ssize_t got = 0
    cdef int descriptor
    snprintf(path, 4200, b"%s/history", directory)
    descriptor = c_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    if descriptor < 0:
        return 0 if errno == ENOENT or errno == ENOTDIR or errno == ELOOP or errno == EISDIR else -errno
    if fstat(descriptor, &facts) == 0 and S_ISREG(facts.st_mode):
        got = pread(descriptor, image, TM_HISTORY_BYTES, 0)
        if got < 0:
            got = -errno
    close(descriptor)
    return got


cdef bint c_image_check(char *image, size_t size) noexcept nogil:
    """Clear every point that is not whole; 0 when the head is not valid and so nothing is."""
    cdef const tm_history_head *head = <const tm_history_head *>image
    cdef tm_history_point *point
    cdef uint32_t place
    cdef int tier
    if size < sizeof(tm_history_head) or head.magic != TM_HISTORY_MAGIC or head.version != TM_HISTORY_VERSION:
        return 0
    if head.crc != c_crc32(image + TM_HISTORY_HEAD_CRC_AT, sizeof(tm_history_head) - TM_HISTORY_HEAD_CRC_AT):
        return 0
    if not c_is_amount(<double>head.created_realtime_ns * 1e-9, MOST_SECONDS):
        return 0
    for tier in range(<int>TM_HISTORY_TIERS):
        for place in range(c_count[tier]):
            point = <tm_history_point *>(image + c_point_offset(tier, place))
            # A hole of the file is all zeros: never a point, since that covers some time.
            if point.covered_seconds != 0.0 and not c_is_whole(point, tier, place):
                memset(point, 0, sizeof(tm_history_point))
    return 1


cdef const tm_history_point *c_image_point(const char *image, int tier, uint32_t index) noexcept nogil:
    """The point of a step in a checked image; NULL when it is missing."""
    cdef const tm_history_point *point = <const tm_history_point *>(image + c_point_offset(tier, index))
    return point if point.index == index and point.covered_seconds > 0.0 else NULL


cdef void c_image_put(char *image, const tm_history_point *point) noexcept nogil:
    """Lay a point over an image, unless that knows as much or more of this step."""
    cdef const tm_history_point *known = c_image_point(image, point.tier, point.index)
    if known == NULL or known.covered_seconds < point.covered_seconds:
        memcpy(image + c_point_offset(point.tier, point.index), point, sizeof(tm_history_point))


cdef bint c_image_newest(const char *image, int tier, uint32_t *index) noexcept nogil:
    """Find the newest step of a ring; 0 when it is empty."""
    cdef const tm_history_point *point
    cdef uint32_t place
    cdef bint found = 0
    for place in range(c_count[tier]):
        point = <const tm_history_point *>(image + c_point_offset(tier, place))
        if point.covered_seconds > 0.0 and (not found or point.index > index[0]):
            index[0] = point.index
            found = 1
    return found


# ----------------------------------------------------------------------------------------------------------- a range


cdef uint32_t c_collect(const char *image, int tier, tm_history_point *out) noexcept nogil:
    """Copy the points of a ring in order, and append what the finer ring knows beyond them; `out` has room for all points."""
    cdef const tm_history_point *point
    cdef tm_history_point *finer
    cdef c_HistoryStep step
    cdef uint32_t newest = 0
    cdef uint32_t count = 0
    cdef uint32_t ratio = c_tier_ratio(tier)
    cdef uint32_t n, index, finer_count
    cdef bint any_ = c_image_newest(image, tier, &newest)
    if any_:
        index = newest - min(newest, c_count[tier] - 1)
        while index <= newest:
            point = c_image_point(image, tier, index)
            if point != NULL:
                out[count] = point[0]
                count += 1
            index += 1
    if tier == 0:
        return count
    finer = <tm_history_point *>malloc(TM_HISTORY_POINTS * sizeof(tm_history_point))
    if finer == NULL:
        return count
    finer_count = c_collect(image, tier - 1, finer)
    step.open = 0
    for n in range(finer_count):
        index = finer[n].index // ratio
        if any_ and index <= newest:
            continue
        if not step.open or step.point.index != index:
            if step.open and count < TM_HISTORY_POINTS:
                out[count] = step.point
                count += 1
            c_step_open(&step, tier, index)
        c_step_fold(&step, &finer[n])
    if step.open and count < TM_HISTORY_POINTS:
        out[count] = step.point
        count += 1
    free(finer)
    return count


cdef double c_end_seconds(const char *image) noexcept nogil:
    """How long the history is: where its newest step ends."""
    cdef uint32_t newest = 0
    cdef double end = 0.0
    cdef int tier
    for tier in range(<int>TM_HISTORY_TIERS):
        if c_image_newest(image, tier, &newest):
            end = max(end, (<double>newest + 1.0) * c_seconds[tier])
    return end


cdef int c_choose(const char *image, double from_seconds, double resolution_seconds) noexcept nogil:
    """The ring of the wanted step or the next coarser; without a wish the finest that reaches back far enough."""
    cdef double end = c_end_seconds(image)
    cdef int tier
    for tier in range(<int>TM_HISTORY_TIERS - 1):
        if resolution_seconds > 0.0:
            if resolution_seconds <= c_seconds[tier]:
                return tier
        elif end - <double>c_count[tier] * c_seconds[tier] <= max(from_seconds, 0.0):
            return tier
    return <int>TM_HISTORY_TIERS - 1


cdef object c_as_point(const tm_history_point *point, double created):
    return HistoryPoint(
        created + <double>point.index * c_seconds[point.tier],
        point.covered_seconds,
        point.cores,
        point.cores_max,
        <int64_t>(point.memory_bytes + 0.5),
        <int64_t>(point.memory_bytes_max + 0.5),
        None if isnan(point.gpu_memory_bytes) else <int64_t>(point.gpu_memory_bytes + 0.5),
        None if isnan(point.gpu_utilization_percent) else point.gpu_utilization_percent,
        point.rate_count_per_second,
        point.rate_size_per_second,
        (point.flags & TM_HISTORY_GAP) != 0,
    )


cdef object c_image_answer(char *image, double from_time, double to_time, double resolution_seconds):
    """Return (step in seconds, points) of a checked image."""
    cdef double created = <double>(<const tm_history_head *>image).created_realtime_ns * 1e-9
    cdef tm_history_point *points
    cdef double start, seconds
    cdef uint32_t count, n
    cdef int tier
    cdef list answer = []
    points = <tm_history_point *>malloc(TM_HISTORY_POINTS * sizeof(tm_history_point))
    if points == NULL:
        raise MemoryError
    try:
        with nogil:
            tier = c_choose(image, from_time - created, resolution_seconds)
            count = c_collect(image, tier, points)
        seconds = c_seconds[tier]
        for n in range(count):
            start = created + points[n].index * seconds
            if start + seconds > from_time and (to_time <= 0.0 or start < to_time):
                answer.append(c_as_point(&points[n], created))
    finally:
        free(points)
    return seconds, answer


def check_range(double from_time, double to_time, double resolution_seconds):
    """Raise ValueError unless times and resolution are finite, not negative and in order."""
    for value in (from_time, to_time, resolution_seconds):
        if not math.isfinite(value) or value < 0.0:
            raise ValueError("times and resolutions are finite and not negative")
    if to_time and from_time > to_time:
        raise ValueError("from_time is after to_time")


def read_history(directory not None, double from_time=0.0, double to_time=0.0, double resolution_seconds=0.0):
    """Read what an attempt directory's `history` says of a range of time; return (seconds per step, points in order)."""
    cdef bytes encoded = os.fsencode(directory)
    cdef const char *path = encoded
    cdef char *image
    cdef ssize_t got
    cdef bint valid = 0
    check_range(from_time, to_time, resolution_seconds)
    image = <char *>calloc(1, TM_HISTORY_BYTES)
    if image == NULL:
        raise MemoryError
    try:
        with nogil:
            got = c_history_load(path, image)
            if got > 0:
                valid = c_image_check(image, <size_t>got)
        if got < 0:
            raise_errno(<int>-got, directory)
        if not valid:
            return 0.0, []
        return c_image_answer(image, from_time, to_time, resolution_seconds)
    finally:
        free(image)
