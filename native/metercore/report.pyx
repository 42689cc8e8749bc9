# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The report block: counters and text that the work shares with whoever watches it (layout: _c/report.h).

The work adds with one atomic instruction and no system call. The reader believes nothing: it copies the page, clamps every
number and repairs every string.
"""

from libc.errno cimport EEXIST, ESRCH, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from metercore._c.atomic cimport (
    __ATOMIC_ACQUIRE,
    __ATOMIC_RELAXED,
    __ATOMIC_RELEASE,
    c_fetch_add_i64,
    c_load_u32,
    c_store_i64,
    c_store_u32,
    c_store_u64,
    c_swap_if_u32,
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
    S_ISREG,
    c_open,
    c_stat,
    close,
    fstat,
    getpid,
    mmap,
    munmap,
    posix_fallocate,
    sched_yield,
)
from metercore._c.pthread cimport c_kill
from metercore._c.report cimport (
    TM_REPORT_BYTES,
    TM_REPORT_CUSTOM_COUNT,
    TM_REPORT_MAGIC,
    TM_REPORT_NAME_BYTES,
    TM_REPORT_TEXT_BYTES,
    TM_REPORT_VERSION,
    tm_report,
    tm_report_text,
)
from metercore.clock cimport c_monotonic_ns, c_realtime_ns
from metercore.crc cimport c_crc32

from collections import namedtuple

# A living owner holds the text lock for about a microsecond. One that is stopped in it is not waited for longer than this:
# text is a courtesy, the work goes on.
cdef unsigned long long LOCK_WAIT_NS = 20000000


# ---------------------------------------------------------------------------------------------------------- reading


# Two counters are added, completed and failed, without overflow.
cdef int64_t MOST_COUNT = 0x3FFFFFFFFFFFFFFF


cdef int64_t c_clamp(int64_t value) noexcept nogil:
    return min(max(value, 0), MOST_COUNT)


cdef bint c_report_counters(const char *page, size_t size, c_Report *result) noexcept nogil:
    """Take counters, readiness and the serial of the text from a copy of the page; 0 if it is no report block."""
    cdef const tm_report *block = <const tm_report *>page
    if size < TM_REPORT_BYTES or block.magic != TM_REPORT_MAGIC or block.version != TM_REPORT_VERSION:
        return 0
    result.total_count = c_clamp(block.total_count.value)
    result.completed_count = c_clamp(block.completed_count.value)
    result.failed_count = c_clamp(block.failed_count.value)
    result.total_size = c_clamp(block.total_size.value)
    result.completed_size = c_clamp(block.completed_size.value)
    result.failed_size = c_clamp(block.failed_size.value)
    result.ready = block.ready == 1
    return 1


cdef void c_report_add(const c_Report *one, const c_Report *other, c_Report *both) noexcept nogil:
    """Sum what two blocks say, but for the serial of the text."""
    both.total_count = c_clamp(one.total_count + other.total_count)
    both.completed_count = c_clamp(one.completed_count + other.completed_count)
    both.failed_count = c_clamp(one.failed_count + other.failed_count)
    both.total_size = c_clamp(one.total_size + other.total_size)
    both.completed_size = c_clamp(one.completed_size + other.completed_size)
    both.failed_size = c_clamp(one.failed_size + other.failed_size)
    both.ready = one.ready or other.ready


cdef void c_repair_utf8(unsigned char *text, size_t size) noexcept nogil:
    """Replace each byte that is not part of a well-formed character (Unicode 15, table 3-7) by "?"."""
    cdef size_t n = 0
    cdef size_t more, k
    cdef unsigned char first, lowest, highest
    cdef bint good
    while n < size:
        first = text[n]
        lowest = 0x80
        highest = 0xBF
        if first < 0x80:
            n += 1
            continue
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                lowest = 0xA0
            elif first == 0xED:
                highest = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                lowest = 0x90
            elif first == 0xF4:
                highest = 0x8F
        else:
            text[n] = c'?'
            n += 1
            continue
        good = n + more < size
        if good:
            good = lowest <= text[n + 1] <= highest
            for k in range(2, more + 1):
                good = good and 0x80 <= text[n + k] <= 0xBF
        if good:
            n += more + 1
        else:
            text[n] = c'?'
            n += 1


cdef bint c_report_text(const char *page, size_t size, c_ReportText *result) noexcept nogil:
    """Take the current text; 0 when there is none that is whole (a writer may be at it: look again at the next tick)."""
    cdef const tm_report *block = <const tm_report *>page
    cdef const tm_report_text *text
    if size < TM_REPORT_BYTES or block.text_serial == 0:
        return 0
    text = &block.text[block.text_serial & 1]
    if text.status_bytes > TM_REPORT_TEXT_BYTES or text.object_bytes > TM_REPORT_TEXT_BYTES:
        return 0
    if c_crc32(<const char *>text + 4, sizeof(tm_report_text) - 4) != text.crc:
        return 0
    result.status_bytes = text.status_bytes
    result.object_bytes = text.object_bytes
    memcpy(result.status, text.status, text.status_bytes)
    memcpy(result.object, text.object, text.object_bytes)
    c_repair_utf8(<unsigned char *>result.status, text.status_bytes)
    c_repair_utf8(<unsigned char *>result.object, text.object_bytes)
    return 1


# Not typing.NamedTuple: that import alone takes longer than all of this module, and tasks start with it.
Report = namedtuple(
    "Report",
    "total_count completed_count failed_count total_size completed_size failed_size ready status current_object custom",
)
Report.__doc__ = "What a report block says; every number is at least 0."


def parse_report(bytes page not None):
    """Parse a copy of a report block; None if it is none."""
    cdef c_Report result
    cdef c_ReportText written
    cdef const char *raw = page
    cdef const tm_report *block = <const tm_report *>raw
    cdef int n
    cdef bytes name
    memset(&result, 0, sizeof(result))
    if not c_report_counters(raw, <size_t>len(page), &result):
        return None
    memset(&written, 0, sizeof(written))
    c_report_text(raw, <size_t>len(page), &written)
    custom = {}
    for n in range(TM_REPORT_CUSTOM_COUNT):
        name = (<const char *>block.custom[n].name)[:TM_REPORT_NAME_BYTES].split(b"\0", 1)[0]
        if name:
            custom[name.decode("utf-8", "replace")] = c_clamp(block.custom[n].value)
    return Report(
        result.total_count,
        result.completed_count,
        result.failed_count,
        result.total_size,
        result.completed_size,
        result.failed_size,
        bool(result.ready),
        written.status[: written.status_bytes].decode("utf-8", "replace"),
        written.object[: written.object_bytes].decode("utf-8", "replace"),
        custom,
    )


def dropped_event_count(bytes page not None):
    cdef const char *raw = page
    cdef const tm_report *block = <const tm_report *>raw
    cdef c_Report counters
    return c_clamp(block.dropped_events) if c_report_counters(raw, <size_t>len(page), &counters) else 0


# ---------------------------------------------------------------------------------------------------------- writing


cdef bint c_lock(tm_report *page) noexcept nogil:
    """Take the text lock, from a dead owner if need be; 0 when a living one does not give it back.

    The caller holds the GIL until it unlocks, so an owner with our own pid is a process that died: the pid came round.
    """
    cdef uint32_t own = <uint32_t>getpid()
    cdef uint32_t owner
    cdef unsigned long long until = 0
    while True:
        owner = 0
        if c_swap_if_u32(&page.text_lock, &owner, own, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED):
            return 1
        # The lock may hold any number: 0 and negative pids would ask about groups.
        if owner == own or <int>owner <= 0 or (c_kill(<int>owner, 0) != 0 and errno == ESRCH):
            if c_swap_if_u32(&page.text_lock, &owner, own, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED):
                return 1
            continue
        if until == 0:
            until = c_monotonic_ns() + LOCK_WAIT_NS
        elif c_monotonic_ns() > until:
            return 0
        sched_yield()


cdef void c_unlock(tm_report *page) noexcept nogil:
    c_store_u32(&page.text_lock, 0, __ATOMIC_RELEASE)


cdef tm_report *c_private_page() noexcept nogil:
    cdef void *memory = mmap(NULL, TM_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        return NULL
    (<tm_report *>memory).magic = TM_REPORT_MAGIC
    (<tm_report *>memory).version = TM_REPORT_VERSION
    return <tm_report *>memory


cdef tm_report *c_shared_page(const char *path) noexcept nogil:
    """Map the block, making it if need be; NULL with errno. Several processes may do so at once: all write the same."""
    cdef c_stat facts
    cdef int error
    cdef void *memory
    cdef tm_report *page
    cdef int descriptor = c_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    if descriptor < 0:
        return NULL
    # Blocks are allocated before they are mapped: a store into a hole on a full disk would be SIGBUS.
    error = 0 if fstat(descriptor, &facts) == 0 and S_ISREG(facts.st_mode) else EEXIST
    if error == 0:
        error = posix_fallocate(descriptor, 0, TM_REPORT_BYTES)
    memory = MAP_FAILED
    if error == 0:
        memory = mmap(NULL, TM_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        if memory == MAP_FAILED:
            error = errno
    close(descriptor)
    if memory == MAP_FAILED:
        return NULL
    page = <tm_report *>memory
    if page.magic != TM_REPORT_MAGIC:
        page.version = TM_REPORT_VERSION
        page.size_bytes = TM_REPORT_BYTES
        c_store_u64(&page.magic, TM_REPORT_MAGIC, __ATOMIC_RELEASE)
    c_store_u32(&page.writer_pid, <uint32_t>getpid(), __ATOMIC_RELAXED)
    return page


cdef bytes c_cut(object text, size_t room):
    """Encode and cut at a character."""
    cdef bytes data = str(text).encode("utf-8", "replace")
    cdef Py_ssize_t end = <Py_ssize_t>room
    if len(data) <= end:
        return data
    while end > 0 and (<const unsigned char *><const char *>data)[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end]


cdef class ReportBlock:
    """Write the report block at a path; without a path, or where none can be made, write to private memory instead.

    Reporting never fails and never waits for a reader: the work must not stop because nobody can watch it. Counters may be
    changed from any thread and, after a fork, from any process.
    """

    def __cinit__(self, path=None, *args, **kwargs):
        self.page = NULL
        self.shared = False
        cdef bytes encoded
        if path is not None:
            encoded = str(path).encode("utf-8", "surrogateescape")
            self.page = c_shared_page(encoded)
            self.shared = self.page != NULL
        if self.page == NULL:
            self.page = c_private_page()
        if self.page == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.page != NULL:
            munmap(self.page, TM_REPORT_BYTES)

    def add(self, int64_t n=1, int64_t size=0):
        """Count `n` more items as completed, with `size` bytes together. One or two atomic additions."""
        c_fetch_add_i64(&self.page.completed_count.value, n, __ATOMIC_RELAXED)
        if size:
            c_fetch_add_i64(&self.page.completed_size.value, size, __ATOMIC_RELAXED)

    def fail(self, int64_t n=1, int64_t size=0):
        """Count `n` more items as failed, with `size` bytes together."""
        c_fetch_add_i64(&self.page.failed_count.value, n, __ATOMIC_RELAXED)
        if size:
            c_fetch_add_i64(&self.page.failed_size.value, size, __ATOMIC_RELAXED)

    def progress(self, total=None, total_size=None):
        """Say how many items, and how many bytes, there are to do; None leaves what was said. Returns self."""
        cdef int64_t value
        if total is not None:
            value = total
            c_store_i64(&self.page.total_count.value, value, __ATOMIC_RELAXED)
        if total_size is not None:
            value = total_size
            c_store_i64(&self.page.total_size.value, value, __ATOMIC_RELAXED)
        return self

    def expect(self, int64_t n=1, int64_t size=0):
        """Say that there are `n` more items, of `size` bytes together, to do than was said before; negative: fewer."""
        if n:
            c_fetch_add_i64(&self.page.total_count.value, n, __ATOMIC_RELAXED)
        if size:
            c_fetch_add_i64(&self.page.total_size.value, size, __ATOMIC_RELAXED)

    def count(self, name, int64_t n=1):
        """Add `n` to the counter `name` (24 bytes of UTF-8 at most); the 17th name and later ones are not counted."""
        cdef bytes wanted = c_cut(name, TM_REPORT_NAME_BYTES).split(b"\0", 1)[0]
        cdef char[24] padded
        cdef int k
        if not wanted:
            raise ValueError("a counter needs a name")
        memset(padded, 0, TM_REPORT_NAME_BYTES)
        memcpy(padded, <const char *>wanted, <size_t>len(wanted))
        for k in range(TM_REPORT_CUSTOM_COUNT):
            if memcmp(self.page.custom[k].name, padded, TM_REPORT_NAME_BYTES) == 0:
                c_fetch_add_i64(&self.page.custom[k].value, n, __ATOMIC_RELAXED)
                return
        if not c_lock(self.page):
            return
        for k in range(TM_REPORT_CUSTOM_COUNT):
            if self.page.custom[k].name[0] == 0:
                memcpy(self.page.custom[k].name, padded, TM_REPORT_NAME_BYTES)
            elif memcmp(self.page.custom[k].name, padded, TM_REPORT_NAME_BYTES) != 0:
                continue
            c_fetch_add_i64(&self.page.custom[k].value, n, __ATOMIC_RELAXED)
            break
        c_unlock(self.page)

    def drop(self, int64_t n=1):
        c_fetch_add_i64(&self.page.dropped_events, n, __ATOMIC_RELAXED)

    cdef int c_write(self, bytes status, bytes object_) except -1:
        cdef uint32_t serial
        cdef tm_report_text *before
        cdef tm_report_text *after
        if not c_lock(self.page):
            return 0
        serial = c_load_u32(&self.page.text_serial, __ATOMIC_ACQUIRE)
        before = &self.page.text[serial & 1]
        # 0 means "no text yet", so the serial steps over it when it comes round; the slot must still alternate.
        serial = serial + 1 if serial < 0xFFFFFFFFu else 2
        after = &self.page.text[serial & 1]
        if status is not None:
            memcpy(after.status, <const char *>status, <size_t>len(status))
            after.status_bytes = <uint16_t>len(status)
        else:
            after.status_bytes = min(before.status_bytes, <uint16_t>TM_REPORT_TEXT_BYTES)
            memcpy(after.status, before.status, after.status_bytes)
        if object_ is not None:
            memcpy(after.object, <const char *>object_, <size_t>len(object_))
            after.object_bytes = <uint16_t>len(object_)
        else:
            after.object_bytes = min(before.object_bytes, <uint16_t>TM_REPORT_TEXT_BYTES)
            memcpy(after.object, before.object, after.object_bytes)
        after.crc = c_crc32(<const char *>after + 4, sizeof(tm_report_text) - 4)
        c_store_u32(&self.page.text_serial, serial, __ATOMIC_RELEASE)
        c_unlock(self.page)
        return 0

    def status(self, text):
        """Say in a few words what the work is doing; cut at 500 bytes of UTF-8. Returns self."""
        self.c_write(c_cut(text, TM_REPORT_TEXT_BYTES), None)
        return self

    def object(self, text):
        """Name what is being worked on, such as a file; cut at 500 bytes of UTF-8. Returns self."""
        self.c_write(None, c_cut(text, TM_REPORT_TEXT_BYTES))
        return self

    def ready(self):
        """Announce that initialisation is over (for tasks started with `announces_ready`). Returns self."""
        if self.page.ready != 1:
            c_store_i64(&self.page.ready_realtime_ns, c_realtime_ns(), __ATOMIC_RELAXED)
            c_store_u32(&self.page.ready, 1, __ATOMIC_RELEASE)
        return self

    def read(self):
        """Return what the block says now."""
        return parse_report((<const char *>self.page)[:TM_REPORT_BYTES])

    def _take_lock(self):
        """Take the text lock and keep it: for tests of what happens when its owner dies."""
        return bool(c_lock(self.page))


# -------------------------------------------------------------------------------------------------------- on behalf


cdef int c_raise_counter(int64_t *counter, int64_t n, str name) except -1:
    """Add to a counter that is nobody else's. Raises OverflowError naming it, ValueError for what is negative."""
    cdef int64_t before = c_clamp(counter[0])
    if n < 0:
        raise ValueError(name)
    if n > MOST_COUNT - before:
        raise OverflowError(name)
    counter[0] = before + n
    return 0


cdef int c_raise_custom(tm_report *page, str name, int64_t n) except -1:
    cdef bytes wanted = name.encode()
    cdef char[TM_REPORT_NAME_BYTES] padded
    cdef int k
    if not 0 < len(wanted) <= TM_REPORT_NAME_BYTES or b"\0" in wanted:
        raise ValueError(name)
    memset(padded, 0, TM_REPORT_NAME_BYTES)
    memcpy(padded, <const char *>wanted, <size_t>len(wanted))
    for k in range(TM_REPORT_CUSTOM_COUNT):
        if page.custom[k].name[0] == 0:
            memcpy(page.custom[k].name, padded, TM_REPORT_NAME_BYTES)
            page.custom[k].value = 0
        if memcmp(page.custom[k].name, padded, TM_REPORT_NAME_BYTES) == 0:
            return c_raise_counter(&page.custom[k].value, n, name)
    raise LookupError(name)


def revise_report(
    bytes page not None,
    *,
    total_count=None,
    total_size=None,
    int64_t completed_count=0,
    int64_t completed_size=0,
    int64_t failed_count=0,
    int64_t failed_size=0,
    status=None,
    current_object=None,
    bint ready=False,
    dict custom=None,
):
    """Return a report block with one more report in it; if `page` is none, with this one alone. It is nobody else's.

    Totals and texts are replaced unless None, all else is added. Raises OverflowError with the name of what would exceed
    2**62 - 1, ValueError with that of what is negative or cannot be a name, LookupError with that of a 17th counter.
    """
    cdef ReportBlock block = ReportBlock()
    cdef tm_report *own = block.page
    cdef int64_t value
    if parse_report(page) is not None:
        memcpy(own, <const char *>page, TM_REPORT_BYTES)
        own.text_lock = 0
    own.size_bytes = TM_REPORT_BYTES
    if total_count is not None:
        value = total_count
        own.total_count.value = 0
        c_raise_counter(&own.total_count.value, value, "total_count")
    if total_size is not None:
        value = total_size
        own.total_size.value = 0
        c_raise_counter(&own.total_size.value, value, "total_size")
    c_raise_counter(&own.completed_count.value, completed_count, "completed_count")
    c_raise_counter(&own.completed_size.value, completed_size, "completed_size")
    c_raise_counter(&own.failed_count.value, failed_count, "failed_count")
    c_raise_counter(&own.failed_size.value, failed_size, "failed_size")
    for name, n in (custom or {}).items():
        c_raise_custom(own, name, n)
    if status is not None or current_object is not None:
        block.c_write(
            None if status is None else c_cut(status, TM_REPORT_TEXT_BYTES),
            None if current_object is None else c_cut(current_object, TM_REPORT_TEXT_BYTES),
        )
    if ready:
        block.ready()
    return (<const char *>own)[:TM_REPORT_BYTES]
