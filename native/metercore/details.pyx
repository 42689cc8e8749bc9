# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is looked at now and then: open files, pressure, page faults, context switches.

None of it is billed. Faults and switches are totals, of the living by /proc and of the dead by what the shim reaped, so they may
lag and are never shown to fall; the end of a tree has them whole, from its rusage.
"""

from libc.errno cimport EACCES, EIO, EPERM, errno
from libc.stdint cimport int32_t, uint64_t
from libc.stdio cimport snprintf, sscanf

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    SYS_getdents64,
    c_open,
    c_stat,
    close,
    stat_path,
    syscall,
    tm_dirent64,
)
from metercore.cgroup cimport c_read_ids
from metercore.descriptors cimport c_read_path
from metercore.errors cimport raise_errno
from metercore.members cimport c_read_reaped
from metercore.procfs cimport c_field, c_parse_switches, c_proc_path, c_ProcStat, c_read_stat
from metercore.slots cimport ABSENT, HOLD_CGROUP_V1, HOLD_CGROUP_V2, UNKNOWN, c_Slot

import os

cdef enum:
    LISTING_BYTES = 8192

cdef uint64_t SECOND = 1000000000u
# Each thread has a file of its own. Looked at after a quarter of the task's age, so that a young one has numbers soon.
cdef uint64_t DETAIL_SHARE_OF_AGE = 4
cdef uint64_t DETAIL_NS = 10 * 1000000000u


# -------------------------------------------------------------------------------------------------------- open files


cdef int32_t c_entry_count(const char *path) noexcept nogil:
    """How many entries with a number for a name a directory has, or -errno."""
    cdef char[LISTING_BYTES] listing
    cdef tm_dirent64 *record
    cdef int32_t count = 0
    cdef long got, at
    cdef int descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while True:
        got = syscall(SYS_getdents64, descriptor, listing, LISTING_BYTES)
        if got <= 0:
            break
        at = 0
        while at < got:
            record = <tm_dirent64 *>(listing + at)
            at += record.d_reclen
            count += c'0' <= record.d_name[0] <= c'9'
    if got < 0:
        count = -errno
    close(descriptor)
    return count


cdef int32_t c_open_files(int pid) noexcept nogil:
    """How many descriptors a process has open, or -errno. Since Linux 6.2 that is the directory's size (fs/proc/fd.c)."""
    cdef char[48] path
    cdef c_stat facts
    c_proc_path(path, pid, b"fd")
    if stat_path(path, &facts) != 0:
        return -errno
    if facts.st_size > 0:
        return <int32_t>facts.st_size
    return c_entry_count(path)


cdef void c_take_files(c_Slot *slot, const int32_t *pids, int32_t count) noexcept nogil:
    cdef uint64_t total = 0
    cdef int32_t n, files
    for n in range(count):
        files = c_open_files(pids[n])
        if files == -EACCES or files == -EPERM:  # not ours to see, so the sum would be of some only
            slot.open_file_count = ABSENT
            return
        if files > 0:
            total += <uint64_t>files
    slot.open_file_count = total


# ---------------------------------------------------------------------------------------------------------- pressure


cdef double c_pressure(const char *path) noexcept nogil:
    """The share of the last 10 s in which some thread waited, in percent (Documentation/accounting/psi.rst); -1.0 = not kept."""
    cdef char[256] text
    cdef unsigned int whole, hundredths
    cdef ssize_t got = c_read_path(path, text, 255)
    if got <= 0:
        return UNKNOWN
    text[got] = 0
    # In two parts, since %lf reads the decimal point of whatever locale our program has set.
    if sscanf(text, b"some avg10=%u.%2u", &whole, &hundredths) != 2:
        return UNKNOWN
    return <double>whole + <double>hundredths / 100.0


cdef void c_take_pressure(c_Slot *slot) noexcept nogil:
    cdef char[4200] path
    if not slot.cgroup_is_v2 or slot.no_pressure:
        return
    snprintf(path, 4200, b"%s/cpu.pressure", slot.cgroup)
    slot.cpu_pressure_percent = c_pressure(path)
    if slot.cpu_pressure_percent < 0.0:  # built in and switched off on many kernels
        slot.no_pressure = 1
        return
    snprintf(path, 4200, b"%s/memory.pressure", slot.cgroup)
    slot.memory_pressure_percent = c_pressure(path)
    snprintf(path, 4200, b"%s/io.pressure", slot.cgroup)
    slot.io_pressure_percent = c_pressure(path)


# -------------------------------------------------------------------------------------------------- faults, switches


cdef void c_grow(uint64_t *shown, uint64_t total) noexcept nogil:
    if shown[0] == ABSENT or shown[0] < total:
        shown[0] = total


cdef bint c_cgroup_faults(c_Slot *slot, uint64_t *minor, uint64_t *major) noexcept nogil:
    """Page faults of everything that was ever in the memory cgroup."""
    cdef char[4200] path
    cdef char[8192] text
    cdef uint64_t all_
    cdef ssize_t got
    if slot.cgroup_memory == NULL:
        return 0
    snprintf(path, 4200, b"%s/memory.stat", slot.cgroup_memory)
    got = c_read_path(path, text, 8192)
    if got <= 0:
        return 0
    if slot.hold == HOLD_CGROUP_V2:
        if not c_field(text, <size_t>got, b"pgfault ", 8, &all_) or not c_field(text, <size_t>got, b"pgmajfault ", 11, major):
            return 0
    elif not c_field(text, <size_t>got, b"total_pgfault ", 14, &all_):
        return 0
    elif not c_field(text, <size_t>got, b"total_pgmajfault ", 17, major):
        return 0
    minor[0] = all_ - min(major[0], all_)
    return 1


cdef void c_take_faults(c_Slot *slot, const int32_t *pids, int32_t count) noexcept nogil:
    cdef c_ProcStat now
    cdef uint64_t minor = slot.reaped_minor_faults
    cdef uint64_t major = slot.reaped_major_faults
    cdef int32_t n
    if slot.hold == HOLD_CGROUP_V1 or slot.hold == HOLD_CGROUP_V2:
        if not c_cgroup_faults(slot, &minor, &major):
            return
    else:
        for n in range(count):
            if c_read_stat(pids[n], &now) == 0:
                minor += now.minor_faults
                major += now.major_faults
    c_grow(&slot.account.minor_fault_count, minor)
    c_grow(&slot.account.major_fault_count, major)


cdef int c_switches(const char *path, uint64_t *voluntary, uint64_t *involuntary) noexcept nogil:
    """Read the two lines at the end of a thread's status; 0 or -errno."""
    cdef char[4096] text
    cdef ssize_t got = c_read_path(path, text, 4096)
    if got < 0:
        return <int>got
    return 0 if c_parse_switches(text, <size_t>got, voluntary, involuntary) == 0 else -EIO


cdef int c_process_switches(int pid, uint64_t *voluntary, uint64_t *involuntary) noexcept nogil:
    """Add up the living threads of a process: /proc/PID/status alone is about its first one. 0 or -errno."""
    cdef char[LISTING_BYTES] listing
    cdef char[80] path
    cdef tm_dirent64 *record
    cdef uint64_t one_voluntary, one_involuntary
    cdef long got, at
    cdef int descriptor
    snprintf(path, 80, b"/proc/%d/task", pid)
    descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while True:
        got = syscall(SYS_getdents64, descriptor, listing, LISTING_BYTES)
        if got <= 0:
            break
        at = 0
        while at < got:
            record = <tm_dirent64 *>(listing + at)
            at += record.d_reclen
            if not c'0' <= record.d_name[0] <= c'9':
                continue
            snprintf(path, 80, b"/proc/%d/task/%.20s/status", pid, <const char *>record.d_name)
            if c_switches(path, &one_voluntary, &one_involuntary) == 0:
                voluntary[0] += one_voluntary
                involuntary[0] += one_involuntary
    close(descriptor)
    return 0


cdef void c_take_switches(c_Slot *slot, const int32_t *pids, int32_t count) noexcept nogil:
    cdef uint64_t voluntary = slot.reaped_voluntary_switches
    cdef uint64_t involuntary = slot.reaped_involuntary_switches
    cdef int32_t n
    if slot.thread_count > MOST_IDS:
        return
    for n in range(count):
        c_process_switches(pids[n], &voluntary, &involuntary)
    c_grow(&slot.account.voluntary_switch_count, voluntary)
    c_grow(&slot.account.involuntary_switch_count, involuntary)


# ------------------------------------------------------------------------------------------------------------- a look


cdef int32_t c_pids(c_Slot *slot, int32_t *pids) noexcept nogil:
    """List the living members; more than MOST_IDS if there are more."""
    cdef char[4200] path
    cdef int32_t n
    cdef int32_t count = 0
    if not slot.in_tree:
        snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
        return c_read_ids(path, pids, MOST_IDS)
    for n in range(slot.member_count):
        if slot.members[n].state != c'Z':
            if count < MOST_IDS:
                pids[count] = slot.members[n].pid
            count += 1
    return count


cdef void c_take_details(c_Slot *slot, uint64_t now_ns, bint ran, bint last) noexcept nogil:
    """Look at them as far as they are due; the caller holds work_lock. At its end a tree has no files and no threads.

    `ran`: some member may have since the look before; if none did, only pressure can have changed.
    """
    cdef int32_t[MOST_IDS] pids
    cdef uint64_t age = now_ns - min(slot.account.first_monotonic_ns, now_ns)
    cdef uint64_t pause = min(max(age // DETAIL_SHARE_OF_AGE, SECOND), DETAIL_NS)
    cdef int32_t count
    if last:
        return
    c_take_pressure(slot)
    if not ran:
        return
    count = c_pids(slot, pids)
    if not 0 < count <= MOST_IDS:
        slot.open_file_count = ABSENT
        return
    c_take_files(slot, pids, count)
    if slot.last_detail_ns != 0 and now_ns < slot.last_detail_ns + pause:
        return
    slot.last_detail_ns = now_ns
    if not slot.in_tree:
        c_read_reaped(slot)  # else whoever adds up the members does
    c_take_faults(slot, pids, count)
    c_take_switches(slot, pids, count)


def count_open_files(int pid):
    """Return how many descriptors a process has open. Needs the right to trace it. Raises OSError."""
    cdef int32_t count = c_open_files(pid)
    if count < 0:
        raise_errno(-count, f"/proc/{pid}/fd")
    return count


def read_pressure(str path not None):
    """Return "some avg10" of a pressure file in percent; None where the kernel keeps no pressure."""
    cdef bytes encoded = os.fsencode(path)
    cdef double percent = c_pressure(encoded)
    return percent if percent >= 0.0 else None


def read_switches(int pid):
    """Return the (voluntary, involuntary) context switches of one thread or single-threaded process. Raises OSError."""
    cdef char[48] path
    cdef uint64_t voluntary, involuntary
    cdef int error
    c_proc_path(path, pid, b"status")
    error = c_switches(path, &voluntary, &involuntary)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/status")
    return voluntary, involuntary
