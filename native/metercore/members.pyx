# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The CPU total of a tree that has no cgroup, by its members.

It is what the shim has reaped plus, for each living member, its own time and that of the children it waited for. Read in the
order shim, ancestors, descendants, a process that ends meanwhile is at worst missing from the sum, never counted twice: its
time moves up, to where we have been. A BPF pass is in no such order, so where it could matter the members are asked once more.
"""

from libc.errno cimport ENOENT, ESRCH
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport clock_gettime, clockid_t, timespec

from metercore._c.taskdir cimport TM_GONE_SLOT_BYTES, TM_MAGIC_GONE, TM_PAGE, TM_VERSION, tm_gone
from metercore.backend cimport c_Look
from metercore.bpf cimport c_Bpf, c_bpf_row, c_Row, c_row_is_whole
from metercore.crc cimport c_crc32
from metercore.descriptors cimport c_keep_open, c_read_kept, c_read_kept_in, c_read_path
from metercore.procfs cimport c_parse_stat, c_parse_statm, c_proc_path, c_ProcStat, c_tick_ns
from metercore.slots cimport SOURCE_BPF, SOURCE_PROCFS, c_Member, c_member_drop, c_Slot


cdef extern from *:
    """
    #define TM_GONE_CRC_BYTES offsetof(struct tm_gone, crc)
    """
    size_t TM_GONE_CRC_BYTES

# Someone dying during a pass makes its sum too low; so often it is repeated.
cdef int PASSES = 3


cdef bint c_read_reaped(c_Slot *slot) noexcept nogil:
    """Take over the newest valid record of what the shim has reaped; true if it has news.

    Read, not mapped: a truncated mapping is SIGBUS.
    """
    cdef char[4096] page
    cdef tm_gone record
    cdef int n
    cdef bint news = 0
    cdef ssize_t got
    if slot.directory == NULL:
        return 0
    got = c_read_kept_in(&slot.gone_descriptor, slot.directory, b"gone", page, TM_PAGE)
    for n in range(2):
        if got < <ssize_t>(n * TM_GONE_SLOT_BYTES + sizeof(record)):
            break
        memcpy(&record, page + n * <int>TM_GONE_SLOT_BYTES, sizeof(record))
        if record.magic != TM_MAGIC_GONE or record.version != TM_VERSION or record.serial <= slot.gone_serial:
            continue
        if record.crc == c_crc32(&record, TM_GONE_CRC_BYTES):
            slot.gone_serial = record.serial
            slot.reaped_ns = record.reaped_user_ns + record.reaped_system_ns
            slot.reaped_minor_faults = record.reaped_minor_faults
            slot.reaped_major_faults = record.reaped_major_faults
            slot.reaped_voluntary_switches = record.reaped_voluntary_switches
            slot.reaped_involuntary_switches = record.reaped_involuntary_switches
            news = 1
    return news


cdef bint c_by_stat(c_Slot *slot, c_Member *member, bint keep, bint has_clock, uint64_t clock_ns) noexcept nogil:
    """Read /proc/PID/stat, `keep`: through a kept descriptor; 0 when that process is no more.

    Its CPU time is `clock_ns`, or where clocks cannot be read that of stat, rounded down to ticks.
    """
    cdef char[48] path
    cdef char[1024] text
    cdef c_ProcStat now
    cdef ssize_t got
    cdef uint64_t own_ns
    c_proc_path(path, member.pid, b"stat")
    got = c_read_kept(&member.descriptor, path, text, 1024) if keep else c_read_path(path, text, 1024)
    if got < 0 and got != -ESRCH and got != -ENOENT:
        slot.ran = 1
        return 1  # not readable now, such as without a free descriptor: it lives on as last seen
    if got <= 0 or c_parse_stat(text, <size_t>got, &now) != 0:
        return 0
    if member.start_ticks == 0:
        member.start_ticks = now.start_ticks
    elif now.start_ticks != member.start_ticks:
        return 0
    own_ns = clock_ns if has_clock else now.cpu_ticks * c_tick_ns
    if own_ns > member.own_ns or now.children_cpu_ticks * c_tick_ns > member.children_ns or member.state == c'?':
        slot.ran = 1
    member.own_ns = max(member.own_ns, own_ns)
    member.children_ns = max(member.children_ns, now.children_cpu_ticks * c_tick_ns)
    member.parent_pid = now.ppid
    member.thread_count = now.thread_count
    member.state = now.state
    member.rss_pages = now.rss_pages
    member.parent_pid = now.ppid
    member.stat_due = 0
    return 1


cdef bint c_keeps_statm(c_Member *member) noexcept nogil:
    """Whether statm is open for good; what is read through it is of that very process, whoever has its pid by then."""
    cdef char[48] path
    if member.descriptor < 0:
        c_proc_path(path, member.pid, b"statm")
        c_keep_open(&member.descriptor, path)
    return member.descriptor >= 0


cdef bint c_by_clock(c_Slot *slot, c_Member *member, bint full) noexcept nogil:
    """Ask the process's CPU clock, and if it ran, its memory; `full`: stat as well. 0 when that process is no more.

    The clock id is that of clock_getcpuclockid(3), CPUCLOCK_SCHED in the kernel's posix-timers.h: in nanoseconds, over all
    threads, open to any user, and 5 to 10 times cheaper than having stat formatted. A process cannot wait for a child, start a
    thread or end without running; and one that took over the pid has not run for exactly as long. That the clock was of the
    right process is confirmed afterwards, by a descriptor that belongs to it or by its start time.
    """
    cdef timespec used
    cdef char[128] text
    cdef ssize_t got
    cdef uint64_t clock_ns, resident, shared
    if clock_gettime(<clockid_t>((~member.pid << 3) | 2), &used) != 0:
        return c_by_stat(slot, member, 0, 0, 0)  # it has gone, or its clock is refused: then stat is there
    clock_ns = <uint64_t>used.tv_sec * 1000000000u + <uint64_t>used.tv_nsec
    if clock_ns == member.own_ns and member.start_ticks != 0 and not (full and member.stat_due):
        return 1
    if member.start_ticks == 0 or clock_ns < member.own_ns:
        full = 1  # new, or its pid came round
    # Opened before stat confirms whose it is.
    if not c_keeps_statm(member) or full:
        return c_by_stat(slot, member, 0, 1, clock_ns)
    got = c_read_kept(&member.descriptor, b"", text, 128)
    if got == -ESRCH or got == 0 or (got > 0 and c_parse_statm(text, <size_t>got, &resident, &shared) != 0):
        return 0
    slot.ran = 1
    member.stat_due = 1
    if got > 0:
        member.rss_pages = resident
        member.own_ns = clock_ns
    return 1


cdef bint c_by_row(c_Slot *slot, c_Member *member, const c_Bpf *rows, bint *reaped) noexcept nogil:
    """Take what the pass saw; 0 when that process is no more. `reaped`: it waited for a child since the pass before."""
    cdef const c_Row *row = c_bpf_row(rows, member.pid)
    if row == NULL or not c_row_is_whole(row):  # younger than the pass, just changing, hidden, or gone
        return c_by_clock(slot, member, 1)
    if member.start_ticks == 0:
        member.start_ticks = row.start_ticks
    elif member.start_ticks != row.start_ticks:
        return 0
    if row.children_cpu_ns > member.children_ns:
        member.children_ns = row.children_cpu_ns
        slot.ran = 1
        reaped[0] = 1
    if row.cpu_ns > member.own_ns or member.state == c'?':
        # A thread that runs is as of its last tick: a clock that was asked before may be ahead.
        member.own_ns = max(member.own_ns, row.cpu_ns)
        member.rss_pages = row.rss_pages
        slot.ran = 1
    member.parent_pid = row.ppid
    member.thread_count = row.thread_count
    member.state = c'Z' if row.zombie else c'R'
    return 1


cdef bint c_read_member(c_Slot *slot, c_Member *member, bint by_stat, bint full) noexcept nogil:
    """Bring one member up to date; 0 when that process is no more."""
    return c_by_stat(slot, member, 1, 0, 0) if by_stat else c_by_clock(slot, member, full)


cdef bint c_members_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil:
    """Add up the tree and note whether it ran; 0 when nothing of it can be read (any more).

    What the shim reaps were members, so its record can have grown only if one died, or with those nobody has seen, whom some
    member that ran must have started.
    `all_known`: its members were just looked for.
    """
    cdef int32_t n, kept, processes, threads
    cdef int _pass
    cdef c_Member *member
    cdef const c_Bpf *rows = look.rows if look.source == SOURCE_BPF else NULL
    cdef bint by_stat = look.source == SOURCE_PROCFS
    cdef bint died, lives
    cdef bint reaped = 0
    cdef bint full = all_known or slot.last_tick_ns == 0
    cdef bint grown = full and slot.reaped_due
    for _pass in range(PASSES):
        # What was reaped after the pass may still be in it.
        if grown:
            slot.reaped_due = 0
            if c_read_reaped(slot):
                rows = NULL
        total_ns[0] = slot.reaped_ns
        died = 0
        kept = processes = threads = 0
        for n in range(slot.member_count):
            member = &slot.members[n]
            if rows != NULL:
                lives = c_by_row(slot, member, rows, &reaped)
            else:
                lives = c_read_member(slot, member, by_stat, full)
            if not lives:
                c_member_drop(member)
                died = 1
                continue
            total_ns[0] += member.own_ns + member.children_ns
            if member.state != c'Z':
                processes += 1
                threads += member.thread_count
            if kept != n:
                slot.members[kept] = member[0]
            kept += 1
        slot.member_count = kept
        if processes > 0:  # else the tree has ended: the counts of its last sample stay
            slot.process_count = processes
            slot.thread_count = threads
        if died:
            slot.ran = 1
            slot.wants_pss = 1
            slot.pss_denied = 0
        elif not (reaped and slot.unordered):
            break
        # Its time has moved to who waited for it: ask all who ran, in order.
        grown = full = 1
        rows = NULL
        reaped = 0
    if slot.ran:
        slot.reaped_due = 1
    slot.source = SOURCE_BPF if look.rows != NULL else look.source
    return slot.gone_serial > 0 or slot.member_count > 0
