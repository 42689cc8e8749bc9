# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The segments of an item log as they lie in a directory that somebody else can write to (layout: _c/itemlog.h)."""

from libc.errno cimport EINTR, EINVAL, ELOOP, ENOENT, ESRCH, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcpy, memset

from metercore._c.file cimport c_facts, facts_at, facts_of
from metercore._c.itemlog cimport (
    TM_ITEMS_HEAD_BYTES,
    TM_ITEMS_MAGIC,
    TM_ITEMS_MOST_BYTES,
    TM_ITEMS_VERSION,
    tm_items_head,
)
from metercore._c.linux cimport (
    O_CLOEXEC,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_RDONLY,
    S_ISREG,
    SYS_getdents64,
    close,
    lseek,
    pread,
    syscall,
    tm_dirent64,
)
from metercore._c.spawn cimport openat
from metercore.clock cimport c_monotonic_ns, c_realtime_ns
from metercore.descriptors cimport c_keep_closed, c_may_keep
from metercore.procfs cimport c_ProcStat, c_read_stat

cdef enum:
    LISTING_BYTES = 32768
    # Names that are passed over per listing, after which the rest waits: a directory may be made endless.
    MOST_ENTRIES = 65536

# A change of a directory within this time of the one before may leave its time as it was: a tick of the kernel, at 100 Hz.
cdef int64_t COARSE_NS = 20000000
# How often a writer is looked for that has said nothing more.
cdef uint64_t ASK_NS = 250000000
# After which a segment that was made and not begun is left over.
cdef uint64_t BEGIN_SECONDS = 5


# ------------------------------------------------------------------------------------------------------------- names


cdef const char *c_digits(const char *at, uint64_t *value) noexcept nogil:
    """Read a decimal number without leading zeros; NULL if there is none, or it is too large."""
    cdef uint64_t digit
    if not c'0' <= at[0] <= c'9' or (at[0] == c'0' and c'0' <= at[1] <= c'9'):
        return NULL
    value[0] = 0
    while c'0' <= at[0] <= c'9':
        digit = <uint64_t>(at[0] - c'0')
        if value[0] > (0xFFFFFFFFFFFFFFFFu - digit) // 10:
            return NULL
        value[0] = value[0] * 10 + digit
        at += 1
    return at


cdef bint c_parse_name(const char *name, c_Segment *result) noexcept nogil:
    """Take `<pid>-<start_ticks>-<n>` apart; 0 if it is something else."""
    memset(result, 0, sizeof(c_Segment))
    result.descriptor = -1
    result.durable.place = result.ahead.place = TM_ITEMS_HEAD_BYTES
    name = c_digits(name, &result.pid)
    if name == NULL or name[0] != c'-' or not 0 < result.pid <= 0x7FFFFFFF:
        return 0
    name = c_digits(name + 1, &result.start_ticks)
    if name == NULL or name[0] != c'-':
        return 0
    name = c_digits(name + 1, &result.number)
    return name != NULL and name[0] == 0


cdef void c_write_name(const c_Segment *segment, char *name) noexcept nogil:
    snprintf(
        name,
        NAME_BYTES,
        b"%llu-%llu-%llu",
        <unsigned long long>segment.pid,
        <unsigned long long>segment.start_ticks,
        <unsigned long long>segment.number,
    )


cdef bint c_is_one_series(const c_Segment *one, const c_Segment *other) noexcept nogil:
    return one.pid == other.pid and one.start_ticks == other.start_ticks


cdef int c_compare(uint64_t one, uint64_t other) noexcept nogil:
    return (one > other) - (one < other)


cdef int c_order(const void *one, const void *other) noexcept nogil:
    cdef const c_Segment *a = <const c_Segment *>one
    cdef const c_Segment *b = <const c_Segment *>other
    cdef int found = c_compare(a.start_ticks, b.start_ticks)
    if found == 0:
        found = c_compare(a.pid, b.pid)
    return found if found != 0 else c_compare(a.number, b.number)


# ---------------------------------------------------------------------------------------------------------- directory


cdef void c_files_open(c_Files *files) noexcept nogil:
    cdef c_facts pids, times
    memset(files, 0, sizeof(c_Files))
    files.changed_ns = -1
    if facts_at(b"/proc/self/ns/pid", &pids) == 0:
        if facts_at(b"/proc/self/ns/time", &times) != 0:
            times.st_ino = 0
        files.namespaces = (pids.st_ino & 0xFFFFFFFFu) | (times.st_ino << 32)


cdef void c_files_close(c_Files *files) noexcept nogil:
    cdef size_t n
    for n in range(files.count):
        c_keep_closed(&files.segments[n].descriptor)
    free(files.segments)
    files.segments = NULL
    files.count = files.room = 0


cdef size_t c_find(c_Files *files, const c_Segment *like, size_t sorted_count) noexcept nogil:
    """The first that is not before this one in order."""
    cdef size_t low = 0
    cdef size_t high = sorted_count
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if c_order(&files.segments[middle], like) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef c_Segment *c_files_add(c_Files *files, const c_Segment *like) noexcept nogil:
    """Add one, unsorted; NULL when there are too many."""
    cdef void *more
    cdef size_t room
    if files.count >= MOST_SEGMENTS:
        return NULL
    if files.count == files.room:
        room = files.room * 2 + 8
        more = realloc(files.segments, room * sizeof(c_Segment))
        if more == NULL:
            return NULL
        files.segments = <c_Segment *>more
        files.room = room
    memcpy(&files.segments[files.count], like, sizeof(c_Segment))
    files.count += 1
    return &files.segments[files.count - 1]


cdef void c_files_sort(c_Files *files) noexcept nogil:
    if files.count > 1:
        qsort(files.segments, files.count, sizeof(c_Segment), c_order)


cdef void c_files_drop_gone(c_Files *files) noexcept nogil:
    """Forget those that are gone."""
    cdef size_t kept = 0
    cdef size_t n
    for n in range(files.count):
        if files.segments[n].gone:
            c_keep_closed(&files.segments[n].descriptor)
            continue
        if kept != n:
            memcpy(&files.segments[kept], &files.segments[n], sizeof(c_Segment))
        kept += 1
    files.count = kept


cdef void c_drop_twins(c_Files *files) noexcept nogil:
    """Forget what was listed twice; they are sorted."""
    cdef size_t kept = 1
    cdef size_t n
    for n in range(1, files.count):
        if c_order(&files.segments[kept - 1], &files.segments[n]) == 0:
            continue
        if kept != n:
            memcpy(&files.segments[kept], &files.segments[n], sizeof(c_Segment))
        kept += 1
    files.count = kept


cdef void c_note(c_Files *files, const c_Segment *fresh, size_t known, bint second) noexcept nogil:
    """Mark one that is known as there, or add it; in a second listing only if the first has a later one of its writer."""
    cdef size_t at = c_find(files, fresh, known)
    cdef c_Segment *found = NULL
    if at < known and c_order(&files.segments[at], fresh) == 0:
        found = &files.segments[at]
    elif not second or (at < known and c_is_one_series(&files.segments[at], fresh)):
        found = c_files_add(files, fresh)
    if found != NULL:
        found.look = files.look


cdef int c_pass(c_Files *files, int directory, bint second, bint *whole) noexcept nogil:
    """List once: mark what is there and add what is new; the number of new ones, or -errno."""
    cdef char[LISTING_BYTES] buffer
    cdef size_t known = files.count
    cdef c_Segment fresh
    cdef tm_dirent64 *entry
    cdef long got, at
    cdef int entries = 0
    whole[0] = 0
    lseek(directory, 0, 0)
    while True:
        got = syscall(SYS_getdents64, directory, buffer, <size_t>LISTING_BYTES)
        if got < 0:
            if errno == EINTR:
                continue
            return -errno
        if got == 0:
            whole[0] = 1
            break
        at = 0
        while at < got:
            entry = <tm_dirent64 *>(buffer + at)
            at += entry.d_reclen
            entries += 1
            if c_parse_name(entry.d_name, &fresh):
                c_note(files, &fresh, known, second)
        if entries > MOST_ENTRIES:
            break
    at = <long>(files.count - known)
    if at > 0:
        c_files_sort(files)
        c_drop_twins(files)
    return <int>at


cdef int c_files_list(c_Files *files, int directory) noexcept nogil:
    """Bring the segments up to date with the directory, if it has changed; 0 or -errno.

    A listing may miss what is made while it is under way, also a segment whose successor it has. So where something is new, list
    again: what precedes it is then there, and what is new only then waits for the next time.
    """
    cdef c_facts facts
    cdef int64_t changed, now
    cdef bint whole = 0
    cdef bint again = 0
    cdef int fresh
    cdef size_t n
    if facts_of(directory, &facts) != 0:
        return -errno
    changed = facts.st_ctim.tv_sec * 1000000000 + facts.st_ctim.tv_nsec
    if facts.st_dev == files.device and facts.st_ino == files.inode and changed == files.changed_ns:
        return 0
    now = c_realtime_ns()
    files.look += 1
    fresh = c_pass(files, directory, 0, &whole)
    if fresh > 0:
        fresh = c_pass(files, directory, 1, &again)
        again = 1
    if fresh < 0:
        files.changed_ns = -1
        return fresh
    files.device = facts.st_dev
    files.inode = facts.st_ino
    # What is made in this very tick of the clock would not show.
    files.changed_ns = changed if whole and not again and (now < changed or now - changed > COARSE_NS) else -1
    if whole:
        for n in range(files.count):
            files.segments[n].gone = files.segments[n].look != files.look
    return 0


# ----------------------------------------------------------------------------------------------------------- segments


cdef bint c_writer_is_dead(const c_Segment *segment) noexcept nogil:
    """Is its process certainly not there any more? A zombie may still have threads that write."""
    cdef c_ProcStat stat
    cdef int error
    if segment.start_ticks == 0:
        return 0
    error = c_read_stat(<int>segment.pid, &stat)
    if error != 0:
        return error == -ENOENT or error == -ESRCH
    return stat.start_ticks != segment.start_ticks


cdef int c_segment_open(c_Segment *segment, int directory, bint *kept) noexcept nogil:
    """Return a descriptor of the segment, which is kept open if there is room for one more; or -errno."""
    cdef char[NAME_BYTES] name
    cdef c_facts facts
    cdef int descriptor
    kept[0] = 1
    if segment.descriptor >= 0:
        return segment.descriptor
    c_write_name(segment, name)
    # The name has no slash, so O_NOFOLLOW is enough. O_NONBLOCK: somebody may have put a FIFO there, or hold a lease.
    descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
    if descriptor < 0:
        descriptor = -errno
        segment.alien = descriptor == -ELOOP  # a link
        return descriptor
    if facts_of(descriptor, &facts) != 0 or not S_ISREG(facts.st_mode):
        segment.alien = 1
        close(descriptor)
        return -EINVAL
    kept[0] = c_may_keep()
    if kept[0]:
        segment.descriptor = descriptor
    return descriptor


cdef bint c_head_is_sound(const c_Segment *segment, const tm_items_head *head) noexcept nogil:
    if head.version != TM_ITEMS_VERSION or head.head_bytes != TM_ITEMS_HEAD_BYTES:
        return 0
    return head.writer_pid == segment.pid and head.start_ticks == segment.start_ticks and head.number == segment.number


cdef void c_segment_look(c_Files *files, c_Segment *segment, int directory, bint ended) noexcept nogil:
    """Find out where the segment ends now, and whether that is for good. Nothing the head says is believed beyond the file."""
    cdef tm_items_head head
    cdef c_facts facts
    cdef bint kept = 0
    cdef bint dead
    cdef uint64_t now, most
    cdef ssize_t got
    cdef int descriptor
    segment.limit = segment.durable.place
    segment.blocked = 0
    # Whether its writer is dead is asked before its end is read: who is dead by then has added nothing since.
    dead = ended or segment.final
    if not dead:
        now = c_monotonic_ns()
        if now - segment.asked_ns >= ASK_NS:
            segment.asked_ns = now
            dead = c_writer_is_dead(segment)
    descriptor = -EINVAL if segment.alien else c_segment_open(segment, directory, &kept)
    if descriptor < 0:
        # Else it could not be opened now: there may be more in it.
        segment.blocked = not segment.alien
        segment.final = segment.alien and dead
        return
    got = pread(descriptor, &head, sizeof(head), 0)
    if facts_of(descriptor, &facts) != 0:
        got = -1
    if not kept:
        close(descriptor)
    if got < 0:
        segment.blocked = 1
        return
    if got != sizeof(head) or head.magic != TM_ITEMS_MAGIC:
        # Not begun, and if its writer is dead it never will be; one in another namespace is only about to, if it lives.
        now = <uint64_t>c_realtime_ns() // 1000000000
        segment.final = ended or (dead and now > <uint64_t>facts.st_ctim.tv_sec + BEGIN_SECONDS)
        return
    if not c_head_is_sound(segment, &head):
        segment.alien = 1
        segment.final = dead
        return
    if dead and not ended and not segment.final and head.namespaces != files.namespaces:
        dead = 0  # its pid is not one of ours
    segment.final = dead or head.closed == 1
    most = min(<uint64_t>max(facts.st_size, 0), <uint64_t>TM_ITEMS_MOST_BYTES)
    segment.limit = max(min(head.end_bytes, most) & ~<uint64_t>7, segment.durable.place)
