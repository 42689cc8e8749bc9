# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Descriptors kept open between ticks, at most half of RLIMIT_NOFILE; what comes after that is opened, read and closed.

First come, first kept: every kept file is read once per tick in the same order, and for such a cycle the least recently used
one is exactly the one needed next, so an LRU over the limit would never hit.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf

from metercore._c.atomic cimport __ATOMIC_RELAXED, c_fetch_add_i64, c_load_i64, c_store_i64
from metercore._c.linux cimport (
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDONLY,
    RLIMIT_NOFILE,
    c_open,
    close,
    getrlimit,
    pread,
    read,
    rlimit,
)

cdef int64_t c_kept = 0
cdef int64_t c_most = 0           # as last read
cdef int64_t c_forced_limit = -1
cdef int64_t c_misses = 0
cdef int64_t ASK_AGAIN = 256      # misses


cdef bint c_may_keep() noexcept nogil:
    """Take one place in the pool; 0 when it is full, also by the limit as it is now."""
    cdef rlimit limit
    cdef bint asks
    cdef int64_t before = c_fetch_add_i64(&c_kept, 1, __ATOMIC_RELAXED)
    if before < (c_load_i64(&c_most, __ATOMIC_RELAXED) if c_forced_limit < 0 else c_forced_limit):
        return 1
    # The limit may be raised at any time; asking costs as much as a small read does.
    asks = c_forced_limit < 0 and c_fetch_add_i64(&c_misses, 1, __ATOMIC_RELAXED) % ASK_AGAIN == 0
    if asks and getrlimit(RLIMIT_NOFILE, &limit) == 0:
        c_store_i64(&c_most, <int64_t>(limit.rlim_cur // 2), __ATOMIC_RELAXED)
        if before < <int64_t>(limit.rlim_cur // 2):
            return 1
    c_fetch_add_i64(&c_kept, -1, __ATOMIC_RELAXED)
    return 0


cdef void c_keep_closed(int *descriptor) noexcept nogil:
    """Close a kept descriptor and give its place back; harmless on -1."""
    if descriptor[0] >= 0:
        close(descriptor[0])
        descriptor[0] = -1
        c_fetch_add_i64(&c_kept, -1, __ATOMIC_RELAXED)


cdef ssize_t c_read_path(const char *path, char *buffer, size_t size) noexcept nogil:
    """Open, read once and close; the number of bytes, or -errno."""
    # O_NONBLOCK: a task may have put a FIFO where we expect a file.
    cdef int descriptor = c_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    cdef ssize_t got
    if descriptor < 0:
        return -errno
    got = read(descriptor, buffer, size)
    if got < 0:
        got = -errno
    close(descriptor)
    return got


cdef void c_keep_open(int *descriptor, const char *path) noexcept nogil:
    """Open and keep if there is room; else the descriptor stays -1."""
    if not c_may_keep():
        return
    descriptor[0] = c_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    if descriptor[0] < 0:
        descriptor[0] = -1
        c_fetch_add_i64(&c_kept, -1, __ATOMIC_RELAXED)


cdef ssize_t c_read_kept(int *descriptor, const char *path, char *buffer, size_t size) noexcept nogil:
    """Read from offset 0 through the kept descriptor, opening and keeping it if there is room; bytes or -errno."""
    cdef ssize_t got
    if descriptor[0] < 0:
        if not c_may_keep():
            return c_read_path(path, buffer, size)
        descriptor[0] = c_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        if descriptor[0] < 0:
            got = -errno
            c_fetch_add_i64(&c_kept, -1, __ATOMIC_RELAXED)
            return got
    got = pread(descriptor[0], buffer, size, 0)
    return got if got >= 0 else -errno


cdef ssize_t c_read_kept_in(
    int *descriptor, const char *directory, const char *name, char *buffer, size_t size
) noexcept nogil:
    """Read as `c_read_kept` does; the path is made only while there is no descriptor."""
    cdef char[4200] path
    path[0] = 0
    if descriptor[0] < 0:
        snprintf(path, 4200, b"%s/%s", directory, name)
    return c_read_kept(descriptor, path, buffer, size)


def kept_count():
    """Count the descriptors that are kept open now, over all samplers of this process."""
    return c_load_i64(&c_kept, __ATOMIC_RELAXED)


def set_limit(int64_t count):
    """Keep at most `count` descriptors from now on; -1 = half of RLIMIT_NOFILE, the default. Open ones stay."""
    global c_forced_limit
    c_forced_limit = count
