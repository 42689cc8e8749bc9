# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The segments of one writer of the item log: publishing records, going on to the next, after forks too (layout: _c/itemlog.h).

An event costs no system call. A fork is seen by a page that the kernel empties in the child (MADV_WIPEONFORK, Linux 4.14): it
holds the generation of this process, which is one more in each child that looks.
"""

from libc.errno cimport EDQUOT, EEXIST, EFBIG, ENOENT, ENOSPC, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcpy, memset, strdup

from metercore._c.atomic cimport __ATOMIC_RELEASE, c_store_u32, c_store_u64
from metercore._c.file cimport (
    F_OK,
    MADV_WIPEONFORK,
    O_EXCL,
    O_WRONLY,
    RLIMIT_FSIZE,
    access,
    c_facts,
    facts_at,
    facts_of,
    madvise,
    mkdir,
    unlink,
)
from metercore._c.itemlog cimport (
    TM_ITEM_DROPPED,
    TM_ITEMS_FIRST_BYTES,
    TM_ITEMS_HEAD_BYTES,
    TM_ITEMS_LEAST_BYTES,
    TM_ITEMS_MAGIC,
    TM_ITEMS_MOST_BYTES,
    TM_ITEMS_UNREAD_BYTES,
    TM_ITEMS_VERSION,
    tm_item_record,
    tm_items_head,
)
from metercore._c.linux cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_PRIVATE,
    MAP_SHARED,
    O_CLOEXEC,
    O_CREAT,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_RDWR,
    PROT_READ,
    PROT_WRITE,
    c_open,
    close,
    ftruncate,
    getpid,
    getrlimit,
    mmap,
    munmap,
    posix_fallocate,
    rlimit,
)
from metercore.clock cimport c_boottime_ns, c_monotonic_ns, c_realtime_ns
from metercore.crc cimport c_crc32c
from metercore.descriptors cimport c_read_path
from metercore.procfs cimport c_parse_stat, c_ProcStat, c_tick_ns

cdef enum:
    PAGE_BYTES = 4096
    PATH_BYTES = 4200
    TRIES = 16

# How long nothing is tried after there was no room: a full disk must not cost a system call per event.
cdef uint64_t RETRY_NS = 100000000

cdef uint64_t *c_mark = NULL        # the page that forks empty
cdef uint64_t c_generation = 1      # as written there; a fork copies it, and the child counts on
cdef uint64_t c_next_number = 0     # of this process, over all its logs; 0 = not yet begun


# ------------------------------------------------------------------------------------------------------ which process


cdef void c_make_mark() noexcept nogil:
    global c_mark
    cdef void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if page == MAP_FAILED:
        return
    if madvise(page, PAGE_BYTES, MADV_WIPEONFORK) != 0:
        munmap(page, PAGE_BYTES)
        return
    c_mark = <uint64_t *>page
    c_mark[0] = c_generation


c_make_mark()


cdef inline bint c_is_same(const c_Series *series) noexcept nogil:
    """Is this the process that the series belongs to?"""
    if c_mark == NULL:
        return getpid() == series.pid
    return c_mark[0] == series.generation


cdef uint64_t c_namespaces() noexcept nogil:
    cdef c_facts pids, times
    if facts_at(b"/proc/self/ns/pid", &pids) != 0:
        return 0
    if facts_at(b"/proc/self/ns/time", &times) != 0:  # Linux 5.6
        times.st_ino = 0
    return (pids.st_ino & 0xFFFFFFFFu) | (times.st_ino << 32)


cdef void c_adopt(c_Series *series) noexcept nogil:
    """Begin as this process: with nothing open, nothing counted, and names of its own."""
    global c_generation, c_next_number
    cdef char[1024] text
    cdef c_ProcStat stat
    cdef uint64_t now, start
    cdef ssize_t got
    if c_mark != NULL and c_mark[0] == 0:
        c_generation += 1
        c_mark[0] = c_generation
        c_next_number = 0
    elif c_mark == NULL and series.pid != 0:
        c_next_number = 0
    series.base = NULL
    series.room = series.end = 0
    series.generation = c_generation
    series.pid = getpid()
    series.start_ticks = series.retry_ns = series.dropped_count = series.dropped_all = 0
    series.left_count = 0
    series.next_bytes = TM_ITEMS_FIRST_BYTES
    got = c_read_path(b"/proc/self/stat", text, 1024)
    if got > 0 and c_parse_stat(text, <size_t>got, &stat) == 0:
        series.start_ticks = stat.start_ticks
    series.namespaces = c_namespaces()
    if c_next_number == 0:
        now, start = c_boottime_ns(), series.start_ticks * c_tick_ns
        c_next_number = 1 + ((now - start) // 1000 if now > start else 0)


# ------------------------------------------------------------------------------------------------------------ segments


cdef inline tm_items_head *c_head(c_Series *series) noexcept nogil:
    return <tm_items_head *>series.base


cdef bint c_path(const c_Series *series, uint64_t number, char *path) noexcept nogil:
    cdef int size = snprintf(
        path,
        PATH_BYTES,
        b"%s/%d-%llu-%llu",
        series.directory,
        series.pid,
        <unsigned long long>series.start_ticks,
        <unsigned long long>number,
    )
    return 0 < size < PATH_BYTES


cdef int c_map(c_Series *series, const char *path, size_t size) noexcept nogil:
    """Make a segment of `size` bytes and map it; 0 or errno, and then there is no file."""
    cdef rlimit limit
    cdef c_facts facts
    cdef void *memory = MAP_FAILED
    cdef int error = 0
    cdef int descriptor
    # Beyond this limit the kernel would send SIGXFSZ, which ends who does not expect it.
    if getrlimit(RLIMIT_FSIZE, &limit) == 0 and limit.rlim_cur < size:
        return EFBIG
    descriptor = c_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    if descriptor < 0:
        return errno
    if facts_of(descriptor, &facts) != 0:
        error = errno
    if error == 0:
        error = posix_fallocate(descriptor, 0, <int64_t>size)
    if error == 0:
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        if memory == MAP_FAILED:
            error = errno
    close(descriptor)
    if error != 0:
        unlink(path)
        return error
    series.base = <char *>memory
    series.room = size
    series.end = TM_ITEMS_HEAD_BYTES
    series.device = facts.st_dev
    series.inode = facts.st_ino
    return 0


cdef int c_begin(c_Series *series, size_t size) noexcept nogil:
    """Open the next segment; 0 or errno."""
    global c_next_number
    cdef char[PATH_BYTES] path
    cdef tm_items_head *head
    cdef int error = EEXIST
    cdef int _try
    for _try in range(TRIES):
        series.number = c_next_number
        c_next_number += 1
        if not c_path(series, series.number, path):
            return ENOENT
        error = c_map(series, path, size)
        if error == ENOENT and (mkdir(series.directory, 0o700) == 0 or errno == EEXIST):
            error = c_map(series, path, size)
        if error != EEXIST:
            break
    if error != 0:
        return error
    head = c_head(series)
    head.version = TM_ITEMS_VERSION
    head.head_bytes = TM_ITEMS_HEAD_BYTES
    head.writer_pid = <uint32_t>series.pid
    head.start_ticks = series.start_ticks
    head.number = series.number
    head.namespaces = series.namespaces
    head.room_bytes = size
    head.end_bytes = series.end
    c_store_u64(&head.magic, TM_ITEMS_MAGIC, __ATOMIC_RELEASE)
    return 0


cdef void c_leave(c_Series *series) noexcept nogil:
    """Close the segment that is written: nothing is added to it any more."""
    if series.base == NULL:
        return
    c_store_u32(&c_head(series).closed, 1, __ATOMIC_RELEASE)
    munmap(series.base, series.room)
    series.base = NULL
    # There is a place: c_fits looked.
    if series.left_count < MOST_LEFT:
        series.left[series.left_count] = c_Left(series.number, series.room)
        series.left_count += 1


cdef bint c_fits(c_Series *series) noexcept nogil:
    """Forget segments that the daemon has removed; is there room for one more?"""
    cdef char[PATH_BYTES] path
    cdef uint64_t total = 0
    cdef int gone = 0
    cdef int n
    while gone < series.left_count:
        if c_path(series, series.left[gone].number, path) and access(path, F_OK) == 0:
            break
        gone += 1
    series.left_count -= gone
    for n in range(series.left_count):
        series.left[n] = series.left[n + gone]
        total += series.left[n].size_bytes
    return series.left_count < MOST_LEFT and total + series.next_bytes <= TM_ITEMS_UNREAD_BYTES


cdef bint c_turn(c_Series *series) noexcept nogil:
    """Go on to a new segment; 0 if there is none to be had now."""
    cdef uint64_t now
    cdef int error
    if series.directory == NULL:
        return 0
    c_leave(series)
    now = c_monotonic_ns()
    if now < series.retry_ns:
        return 0
    if c_fits(series):
        error = c_begin(series, series.next_bytes)
        if error == 0:
            if series.next_bytes < TM_ITEMS_MOST_BYTES:
                series.next_bytes *= 2
            return 1
        if error in (ENOSPC, EDQUOT, EFBIG):
            series.next_bytes = TM_ITEMS_FIRST_BYTES
            if c_begin(series, TM_ITEMS_LEAST_BYTES) == 0:
                return 1
    series.retry_ns = now + RETRY_NS
    return 0


# ------------------------------------------------------------------------------------------------------------- records


cdef inline char *c_copy(char *at, const c_Text *text) noexcept nogil:
    memcpy(at, text.data, text.size)
    return at + text.size


cdef void c_write(c_Series *series, tm_item_record *head, const c_Texts *texts, size_t size) noexcept nogil:
    """Write a record for which there is room, and publish it."""
    cdef char *base = series.base + series.end
    cdef char *at = base + sizeof(tm_item_record)
    head.size_bytes = <uint32_t>size
    head.place = <uint32_t>series.end
    head.id_bytes = <uint16_t>texts.id.size
    head.stage_bytes = <uint16_t>texts.stage.size
    head.worker_bytes = <uint16_t>texts.worker.size
    head.step_bytes = <uint16_t>texts.step.size
    head.error_bytes = <uint16_t>texts.error.size
    head.metadata_bytes = <uint16_t>texts.metadata.size
    memcpy(base, head, sizeof(tm_item_record))
    at = c_copy(at, &texts.id)
    at = c_copy(at, &texts.stage)
    at = c_copy(at, &texts.worker)
    at = c_copy(at, &texts.step)
    at = c_copy(at, &texts.error)
    at = c_copy(at, &texts.metadata)
    memset(at, 0, <size_t>(base + size - at))
    (<tm_item_record *>base).crc = c_crc32c(base + 4, size - 4)
    series.end += size
    c_store_u64(&c_head(series).end_bytes, series.end, __ATOMIC_RELEASE)


cdef void c_confess(c_Series *series) noexcept nogil:
    """Say first in a new segment how many events are missing before it."""
    cdef tm_item_record head
    cdef c_Texts texts
    memset(&head, 0, sizeof(head))
    memset(&texts, 0, sizeof(texts))
    texts.id.data = texts.stage.data = texts.worker.data = texts.step.data = texts.error.data = texts.metadata.data = b""
    head.type = TM_ITEM_DROPPED
    head.time_ns = c_realtime_ns()
    head.value = <int64_t>series.dropped_count
    series.dropped_count = 0
    c_write(series, &head, &texts, sizeof(tm_item_record))


cdef bint c_series_put(c_Series *series, tm_item_record *head, const c_Texts *texts) noexcept nogil:
    """Publish a record, now; 0 if it had to be dropped, and was counted. All of `head` but its lengths is the caller's."""
    cdef size_t size
    if not c_is_same(series):
        if series.base != NULL:
            munmap(series.base, series.room)  # our copy of the parent's mapping; its segment goes on without us
        c_adopt(series)
    size = sizeof(tm_item_record) + texts.id.size + texts.stage.size + texts.worker.size
    size = (size + texts.step.size + texts.error.size + texts.metadata.size + 7) & ~<size_t>7
    if series.base == NULL or series.end + size > series.room:
        if not c_turn(series):
            series.dropped_count += 1
            series.dropped_all += 1
            return 0
        if series.dropped_count > 0:
            c_confess(series)
    head.time_ns = c_realtime_ns()
    c_write(series, head, texts, size)
    return 1


cdef int c_series_open(c_Series *series, const char *directory) noexcept nogil:
    """Begin a series in a directory, made if need be, or one that leads nowhere if that is NULL; -1 without memory."""
    memset(series, 0, sizeof(c_Series))
    c_adopt(series)
    if directory != NULL:
        series.directory = strdup(directory)
        if series.directory == NULL:
            return -1
        c_turn(series)
    return 0


cdef void c_series_close(c_Series *series) noexcept nogil:
    """Give back the room that was not needed, and close the segment; a later event opens another."""
    cdef char[PATH_BYTES] path
    cdef c_facts facts
    cdef int descriptor
    if series.base == NULL or not c_is_same(series):
        return
    if c_path(series, series.number, path):
        descriptor = c_open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        if descriptor >= 0:
            # Only if it is still the file that we made.
            if facts_of(descriptor, &facts) == 0 and facts.st_dev == series.device and facts.st_ino == series.inode:
                ftruncate(descriptor, <int64_t>series.end)
            close(descriptor)
    c_leave(series)


cdef void c_series_free(c_Series *series) noexcept nogil:
    c_series_close(series)
    if series.base != NULL:
        munmap(series.base, series.room)  # of a parent
    series.base = NULL
    free(series.directory)
    series.directory = NULL
