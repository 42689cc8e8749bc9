# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""All processes of the system in one pass: CPU in nanoseconds, threads, parent, start, memory.

The kernel runs `taskprogram` for each thread and we fold what it writes into one row for each process. The pass is not a
snapshot. Threads that ended are counted as of the first of a process's threads that we meet: one that ends during the pass is
at worst missing from the sum, not in it twice, except in a process that executes a file from another thread. In both cases the
row is not whole (c_row_is_whole), and whoever wants to be exact asks that process's CPU clock. A thread that runs is as of its
last tick (1 to 10 ms; up to 1 s on a CPU without ticks, nohz_full). Nor are processes read in the order of their descent: a
child that is waited for during the pass may be missing, or be in its own row and in its parent's children_cpu_ns as well.

Memory comes from counters that each CPU keeps a part of, and is off by up to rss_error_pages; it is 0 when the leading thread
has ended, as in /proc.
"""

from libc.errno cimport EAGAIN, EBADMSG, EINTR, ENOMEM, errno
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memmove, memset
from posix.time cimport CLOCK_PROCESS_CPUTIME_ID, clock_gettime, timespec

from metercore._c.bpf cimport getppid
from metercore._c.linux cimport _SC_PAGESIZE, close, getpid, read, sched_yield, sysconf
from metercore.errors cimport raise_errno
from metercore.procfs cimport c_ProcStat, c_read_stat, c_tick_ns
from metercore.taskprogram cimport (
    TASK_RECORD_BYTES,
    THREAD_RECORD_BYTES,
    c_task_program_close,
    c_task_program_iterate,
    c_task_program_open,
    c_TaskRecord,
)

from collections import namedtuple

# PID_MAX_LIMIT, include/linux/threads.h: pids are below it on 64-bit machines, whatever kernel.pid_max says.
cdef uint32_t PID_LIMIT = 4194304
# bpf_seq_read() in kernel/bpf/bpf_iter.c hands out at most so many pages at a time.
cdef size_t SEQ_PAGES = 8
# How often the self-test looks again: threads of ours may come and go, and our parent may end.
cdef int ATTEMPTS = 5


# -------------------------------------------------------------------------------------------------------------- rows


cdef inline uint64_t c_ticks(uint64_t ns) noexcept nogil:
    """Clock ticks as nsec_to_clock_t() in kernel/time/time.c has them; a constant divisor costs a multiplication only."""
    return ns // 10000000u if c_tick_ns == 10000000u else ns // c_tick_ns


cdef c_Row *c_bpf_row(const c_Bpf *bpf, int32_t pid) noexcept nogil:
    """The row of a process in the last sweep, or NULL. A sparse set (Briggs and Torczon 1993): nothing needs clearing."""
    cdef uint32_t place
    if not 0 < pid < <int32_t>PID_LIMIT:
        return NULL
    place = bpf.places[pid]
    if place < bpf.row_count and bpf.rows[place].pid == pid:
        return &bpf.rows[place]
    return NULL


cdef int c_grow(c_Bpf *bpf) noexcept nogil:
    cdef uint32_t room = bpf.row_room * 2 if bpf.row_room else 256
    cdef c_Row *rows = <c_Row *>realloc(bpf.rows, room * sizeof(c_Row))
    if rows == NULL:
        return -ENOMEM
    bpf.rows = rows
    bpf.row_room = room
    return 0


cdef inline c_Row *c_row_for(c_Bpf *bpf, int32_t pid, uint64_t ended_ns) noexcept nogil:
    """The row that a thread of the process belongs to, begun if it is the first one seen; NULL without memory."""
    cdef uint32_t place = bpf.places[pid]
    cdef c_Row *row
    if place < bpf.row_count and bpf.rows[place].pid == pid:
        return &bpf.rows[place]
    if bpf.row_count == bpf.row_room and c_grow(bpf) != 0:
        return NULL
    row = &bpf.rows[bpf.row_count]
    bpf.places[pid] = bpf.row_count
    bpf.row_count += 1
    bpf.leaderless_count += 1
    row.pid = pid
    row.thread_count = 0
    row.seen_count = 0
    row.cpu_ns = ended_ns
    row.ended_ns = ended_ns
    row.changed = 0
    return row


cdef ssize_t c_fold(c_Bpf *bpf, const uint8_t *at, size_t size) noexcept nogil:
    """Fold whole records into rows; how many bytes they were, or -errno."""
    cdef const uint8_t *begin = at
    cdef const uint8_t *end = at + size
    cdef const c_TaskRecord *record
    cdef int32_t pid
    cdef c_Row *row
    while end - at >= THREAD_RECORD_BYTES:
        record = <const c_TaskRecord *>at
        pid = record.tgid
        if pid > 0 and end - at < TASK_RECORD_BYTES:
            break
        if not 0 < (pid if pid > 0 else -pid) < <int32_t>PID_LIMIT:
            return -EBADMSG
        row = c_row_for(bpf, pid if pid > 0 else -pid, record.ended_ns)
        if row == NULL:
            return -ENOMEM
        row.cpu_ns += record.run_ns
        row.seen_count += 1
        row.changed |= record.ended_ns != row.ended_ns
        bpf.task_count += 1
        if pid > 0:
            row.ppid = record.ppid
            row.thread_count = record.thread_count
            row.start_ticks = c_ticks(record.start_ns)
            row.children_cpu_ns = record.children_ns
            # Each counter, and so their sum, may be below 0 while a CPU keeps a part of it.
            row.rss_pages = <uint64_t>record.rss_pages if record.rss_pages > 0 else 0
            row.zombie = record.exit_state != 0 and record.thread_count <= 1
            bpf.leaderless_count -= record.thread_count > 0  # none is left of one that is being released
            at += TASK_RECORD_BYTES
        else:
            at += THREAD_RECORD_BYTES
    return at - begin


cdef void c_drop_leaderless(c_Bpf *bpf) noexcept nogil:
    """Take out processes that ended, or began, between our coming by at one of their threads and at the leading one."""
    cdef uint32_t n
    cdef uint32_t kept = 0
    for n in range(bpf.row_count):
        if bpf.rows[n].thread_count > 0:
            bpf.rows[kept] = bpf.rows[n]
            bpf.places[bpf.rows[n].pid] = kept
            kept += 1
    bpf.row_count = kept


cdef int c_read_all(c_Bpf *bpf, int descriptor) noexcept nogil:
    cdef size_t left = 0     # of a record cut off by the end of a read
    cdef ssize_t got, used
    while True:
        got = read(descriptor, bpf.buffer + left, bpf.buffer_bytes - left)
        if got < 0:
            if errno == EINTR or errno == EAGAIN:
                continue
            return -errno
        if got == 0:
            return 0 if left == 0 else -EBADMSG
        left += <size_t>got
        used = c_fold(bpf, bpf.buffer, left)
        if used < 0:
            return <int>used
        left -= <size_t>used
        if left > 0:
            memmove(bpf.buffer, bpf.buffer + used, left)


cdef int c_bpf_sweep(c_Bpf *bpf) noexcept nogil:
    """Read all processes; 0, or -errno with no rows."""
    cdef int descriptor, error
    bpf.row_count = 0
    bpf.leaderless_count = 0
    bpf.task_count = 0
    descriptor = c_task_program_iterate(&bpf.program)
    if descriptor < 0:
        return descriptor
    error = c_read_all(bpf, descriptor)
    close(descriptor)
    if error != 0:
        bpf.row_count = 0
    elif bpf.leaderless_count > 0:
        c_drop_leaderless(bpf)
    return error


# ------------------------------------------------------------------------------------------------------ opening, closing


cdef bint c_is_right(
    const c_Row *row, const c_ProcStat *stat, uint64_t rss_error_pages, uint64_t least_ns, uint64_t most_ns
) noexcept nogil:
    # Threads other than ours may be up to a tick behind, a second without ticks; ours has just called the scheduler.
    cdef uint64_t late_ns = 50000000u + 1000000000u * <uint64_t>(stat.thread_count - 1)
    # Faults between the two readings make a difference too.
    cdef uint64_t off_pages = rss_error_pages * <uint64_t>stat.thread_count + stat.rss_pages // 4
    return (
        row.ppid == stat.ppid
        and row.ppid == getppid()
        and row.start_ticks == stat.start_ticks
        and row.thread_count == stat.thread_count
        and c_row_is_whole(row)
        and not row.zombie
        and row.cpu_ns <= most_ns
        and row.cpu_ns + late_ns >= least_ns
        and row.rss_pages <= stat.rss_pages + off_pages
        and row.rss_pages + off_pages >= stat.rss_pages
    )


cdef uint64_t c_own_cpu_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


cdef int c_self_test(c_Bpf *bpf) noexcept nogil:
    """Compare our own row with what /proc and the clock say of us; 0, or -errno and the reason."""
    cdef c_ProcStat stat
    cdef c_Row *row
    cdef uint64_t least_ns
    cdef int _attempt
    cdef int error = 0
    for _attempt in range(ATTEMPTS):
        sched_yield()
        least_ns = c_own_cpu_ns()
        error = c_bpf_sweep(bpf)
        if error == 0:
            error = c_read_stat(getpid(), &stat)
        if error != 0:
            break
        row = c_bpf_row(bpf, getpid())
        if row != NULL and c_is_right(row, &stat, bpf.rss_error_pages, least_ns, c_own_cpu_ns()):
            return 0
    if error == 0:
        error = -EBADMSG
        snprintf(
            bpf.program.reason,
            sizeof(bpf.program.reason),
            b"what BPF says of this process is not what /proc says: a time namespace, or a kernel that is not understood",
        )
    else:
        snprintf(bpf.program.reason, sizeof(bpf.program.reason), b"a first pass failed with error %d", -error)
    return error


cdef int c_bpf_open(c_Bpf *bpf) noexcept nogil:
    """Load the program and try it on ourselves; 0, or -errno with nothing left open and program.reason saying why."""
    cdef int error
    memset(bpf, 0, sizeof(c_Bpf))
    error = c_task_program_open(&bpf.program)
    if error != 0:
        return error
    bpf.rss_error_pages = bpf.program.rss_error_pages
    bpf.buffer_bytes = SEQ_PAGES * <size_t>sysconf(_SC_PAGESIZE)
    bpf.buffer = <uint8_t *>malloc(bpf.buffer_bytes)
    # 16 MiB of addresses; a page of memory only where there are pids.
    bpf.places = <uint32_t *>calloc(PID_LIMIT, sizeof(uint32_t))
    if bpf.buffer == NULL or bpf.places == NULL:
        error = -ENOMEM
        snprintf(bpf.program.reason, sizeof(bpf.program.reason), b"no memory")
    else:
        error = c_self_test(bpf)
    if error != 0:
        c_bpf_close(bpf)
    return error


cdef void c_bpf_close(c_Bpf *bpf) noexcept nogil:
    """Give everything back; may be called again. The reason stays."""
    c_task_program_close(&bpf.program)
    free(bpf.rows)
    free(bpf.places)
    free(bpf.buffer)
    bpf.rows = NULL
    bpf.places = NULL
    bpf.buffer = NULL
    bpf.row_count = 0
    bpf.row_room = 0


# ------------------------------------------------------------------------------------------------------------- Python


BpfRow = namedtuple(
    "BpfRow", "pid ppid thread_count start_ticks cpu_ns children_cpu_ns rss_pages zombie whole", module=__name__
)


cdef object c_python_row(const c_Row *row):
    return BpfRow(
        row.pid,
        row.ppid,
        row.thread_count,
        row.start_ticks,
        row.cpu_ns,
        row.children_cpu_ns,
        row.rss_pages,
        row.zombie != 0,
        c_row_is_whole(row),
    )


cdef class BpfTable:
    """The processes of the system."""

    def __cinit__(self):
        cdef int error
        self.c.program.link = -1
        error = c_bpf_open(&self.c)
        if error != 0:
            raise OSError(-error, self.c.program.reason.decode())

    def __dealloc__(self):
        c_bpf_close(&self.c)

    def sweep(self):
        """Read all processes anew."""
        cdef int error
        if self.c.places == NULL:
            raise ValueError("the table is closed")
        error = c_bpf_sweep(&self.c)
        if error != 0:
            raise_errno(-error, "bpf_iter_task")
        return self.c.row_count

    def rows(self):
        """Return the rows of the last sweep."""
        cdef uint32_t n
        return [c_python_row(&self.c.rows[n]) for n in range(self.c.row_count)]

    def row(self, int32_t pid):
        """Return the row of one process."""
        cdef c_Row *row = c_bpf_row(&self.c, pid) if self.c.places != NULL else NULL
        return None if row == NULL else c_python_row(row)

    @property
    def task_count(self):
        """How many threads the last sweep read."""
        return self.c.task_count

    @property
    def rss_error_pages(self):
        """How far rss_pages may be off."""
        return self.c.rss_error_pages

    def close(self):
        """Give everything back."""
        c_bpf_close(&self.c)


def probe():
    """Tell why this cannot be used here."""
    cdef c_Bpf bpf
    if c_bpf_open(&bpf) != 0:
        return bpf.program.reason.decode()
    c_bpf_close(&bpf)
    return None
