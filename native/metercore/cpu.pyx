# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CPU totals of one attempt's tree, and how many cores it may use.

With a v2 cgroup the kernel keeps the total, exited children included. Without one it is what the shim has reaped plus, for
each living member, its own time and that of the children it waited for. Read in the order shim, ancestors, descendants, a
process that ends meanwhile is at worst missing from the sum, never counted twice: its time moves up, to where we have been.
"""

from libc.errno cimport ENOENT, ESRCH
from libc.stdint cimport int32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy
from posix.time cimport clock_gettime, clockid_t, timespec

from metercore._c.linux cimport CPU_COUNT, cpu_set_t, sched_getaffinity
from metercore._c.taskdir cimport TM_GONE_SLOT_BYTES, TM_MAGIC_GONE, TM_PAGE, TM_VERSION, tm_gone
from metercore.cgroup cimport c_parse_cpu_max, c_parse_usage
from metercore.crc cimport c_crc32
from metercore.descriptors cimport c_read_kept, c_read_path
from metercore.procfs cimport c_parse_stat, c_proc_path, c_ProcStat, c_tick_ns
from metercore.slots cimport SOURCE_CGROUP, c_Member, c_member_drop, c_Slot


cdef extern from *:
    """
    #define TM_GONE_CRC_BYTES offsetof(struct tm_gone, crc)
    """
    size_t TM_GONE_CRC_BYTES

# Someone dying during a pass makes its sum too low; so often it is repeated.
cdef int PASSES = 3


cdef void c_read_reaped(c_Slot *slot) noexcept nogil:
    """Take over the newest valid record of what the shim has reaped. Read, not mapped: a truncated mapping is SIGBUS."""
    cdef char[4096] page
    cdef tm_gone record
    cdef int n
    cdef ssize_t got = c_read_kept(&slot.gone_descriptor, slot.gone_path, page, TM_PAGE)
    for n in range(2):
        if got < <ssize_t>(n * TM_GONE_SLOT_BYTES + sizeof(record)):
            return
        memcpy(&record, page + n * <int>TM_GONE_SLOT_BYTES, sizeof(record))
        if record.magic != TM_MAGIC_GONE or record.version != TM_VERSION or record.serial <= slot.gone_serial:
            continue
        if record.crc == c_crc32(&record, TM_GONE_CRC_BYTES):
            slot.gone_serial = record.serial
            slot.reaped_ns = record.reaped_user_ns + record.reaped_system_ns


cdef bint c_has_run(c_Member *member) noexcept nogil:
    """Ask the process's CPU clock whether it ran since stat was last read; if not, nothing there can have changed.

    The clock id is that of clock_getcpuclockid(3), CPUCLOCK_SCHED in the kernel's posix-timers.h: in nanoseconds, over all
    threads, open to any user, and 5 to 10 times cheaper than having stat formatted. A process cannot wait for a child, start a
    thread or end without running; and one that took over the pid has not run for exactly as long.
    """
    cdef timespec used
    cdef uint64_t clock_ns
    if clock_gettime(<clockid_t>((~member.pid << 3) | 2), &used) != 0:
        return 1
    clock_ns = <uint64_t>used.tv_sec * 1000000000u + <uint64_t>used.tv_nsec
    if clock_ns == member.clock_ns:
        return 0
    member.clock_ns = clock_ns
    return 1


cdef bint c_read_member(c_Slot *slot, c_Member *member) noexcept nogil:
    """Read /proc/PID/stat of a member unless it is as it was; 0 when that process is no more."""
    cdef char[48] path
    cdef char[1024] text
    cdef c_ProcStat now
    cdef ssize_t got
    if not c_has_run(member):
        return 1
    slot.ran = 1
    c_proc_path(path, member.pid, b"stat")
    got = c_read_kept(&member.descriptor, path, text, 1024)
    if got < 0 and got != -ESRCH and got != -ENOENT:
        member.clock_ns = 0  # not readable now, such as without a free descriptor: it lives on as last seen
        return 1
    if got <= 0 or c_parse_stat(text, <size_t>got, &now) != 0:
        return 0
    if member.start_ticks == 0:
        member.start_ticks = now.start_ticks
    elif now.start_ticks != member.start_ticks:
        return 0
    member.cpu_ns = (now.cpu_ticks + now.children_cpu_ticks) * c_tick_ns
    member.children_now_ns = now.children_cpu_ticks * c_tick_ns
    member.parent_pid = now.ppid
    member.thread_count = now.thread_count
    member.state = now.state
    member.rss_pages = now.rss_pages
    return 1


cdef bint c_processes_total(c_Slot *slot, bint all_known, uint64_t *total_ns) noexcept nogil:
    """What the shim reaps were members, so its record can have grown only if one died, or with those nobody has seen."""
    cdef int32_t n, kept, processes, threads
    cdef int _pass
    cdef c_Member *member
    cdef bint died
    cdef bint grown = all_known or slot.last_tick_ns == 0
    for _pass in range(PASSES):
        if grown:
            c_read_reaped(slot)
        total_ns[0] = slot.reaped_ns
        died = 0
        kept = processes = threads = 0
        for n in range(slot.member_count):
            member = &slot.members[n]
            if not c_read_member(slot, member):
                c_member_drop(member)
                died = 1
                continue
            total_ns[0] += member.cpu_ns
            if member.state != c'Z':
                processes += 1
                threads += member.thread_count
            slot.members[kept] = member[0]
            kept += 1
        grown = died
        if died:
            slot.ran = 1
            slot.wants_pss = 1
        slot.member_count = kept
        if processes > 0:  # else the tree has ended: the counts of its last sample stay
            slot.process_count = processes
            slot.thread_count = threads
        if not died:
            break
    return slot.gone_serial > 0 or slot.member_count > 0


cdef bint c_cpu_total(c_Slot *slot, bint all_known, uint64_t *total_ns) noexcept nogil:
    """Read the total of the tree, and note whether it ran; 0 when nothing can be read (any more).

    `all_known`: its members were just looked for.
    """
    cdef char[1024] text
    cdef ssize_t got
    slot.ran = 0
    if slot.source == SOURCE_CGROUP:
        got = c_read_kept(&slot.cpu_descriptor, slot.cpu_path, text, 1024)
        if got <= 0 or not c_parse_usage(text, <size_t>got, total_ns):
            return 0
        slot.ran = total_ns[0] != slot.last_total_ns
        slot.last_total_ns = total_ns[0]
        return 1
    return c_processes_total(slot, all_known, total_ns)


cdef double c_allowed_cores(c_Slot *slot, double online_cores, double quota_cores) noexcept nogil:
    """min(affinity of the main process, quota of the task's cgroup, what everything here shares), at least 0.01."""
    cdef double cores = online_cores
    cdef double quota
    cdef cpu_set_t mask
    cdef char[4200] path
    cdef char[128] text
    cdef ssize_t got
    if slot.main_pid > 0 and sched_getaffinity(slot.main_pid, sizeof(mask), &mask) == 0:
        cores = min(cores, <double>CPU_COUNT(&mask))
    if quota_cores > 0.0:
        cores = min(cores, quota_cores)
    if slot.cgroup_v2 != NULL:
        snprintf(path, 4200, b"%s/cpu.max", slot.cgroup_v2)
        got = c_read_path(path, text, 128)
        quota = c_parse_cpu_max(text, <size_t>got) if got > 0 else 0.0
        if quota > 0.0:
            cores = min(cores, quota)
    return max(cores, 0.01)
