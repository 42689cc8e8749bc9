# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stops, then kills, every process of an attempt whose shim has died; these belong to init or another reaper by now.

A chain of processes that fork and exit outruns a mere kill loop, so whoever is found is stopped first, and the search goes on
until it finds nobody new while all that were found stand still: a fork under way when the stop signal comes ends after it. Then
they are killed, and searched for again until nobody of them lives.

A process is (pid, start time). Both are read before it is tested and again behind the pidfd that the signal goes through, so a
stranger who got a recycled pid is never hit. No descriptor is held longer than for that.
"""

from libc.errno cimport EMFILE, ENFILE, ENOMEM, EPERM, errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, strlen

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    SYS_getdents64,
    c_open,
    close,
    getpid,
    read,
    syscall,
    tm_dirent64,
)
from metercore._c.spawn cimport SYS_pidfd_open, SYS_pidfd_send_signal
from metercore.clock cimport c_monotonic_ns
from metercore.descriptors cimport c_read_path
from metercore.errors cimport raise_errno
from metercore.procfs cimport c_number, c_parse_stat, c_proc_path, c_ProcStat, c_read_stat


cdef extern from "<signal.h>" nogil:
    int SIGKILL
    int SIGSTOP


cdef extern from "<unistd.h>" nogil:
    int usleep(uint32_t microseconds)


cdef extern from "<string.h>" nogil:
    void *memmem(const void *text, size_t size, const void *wanted, size_t wanted_size)


cdef enum:
    MARKS = 2
    MOST_PIDS = 1 << 22  # PID_MAX_LIMIT on 64 bits (include/linux/threads.h)
    # So small that the newest pids, which ever new processes have, are looked at within microseconds after they were listed.
    LISTING_BYTES = 512
    LISTED = LISTING_BYTES // 24
    FIRST_TEXT_BYTES = 1 << 16
    MOST_TEXT_BYTES = 1 << 24
    PAUSE_US = 1000
    EXEC_PASSES = 20  # so often is somebody looked at again who seems to be in the middle of an exec


cdef struct c_Text:
    const char *data
    size_t size


cdef struct c_Held:
    int32_t pid
    bint foreign  # not ours to signal, so not ours to wait for
    bint killed
    uint64_t start_ticks


cdef struct c_Hunt:
    c_Text name               # of its cgroups; with that alone, where there are any
    c_Text[MARKS] marks       # in the environment of its processes
    c_Text command_line       # of its shim: until a child has exec'ed, it is the image of that
    uint64_t *start_of        # start time + 1 of the held process that has this pid; pages that nobody needs are never there
    c_Held *held
    size_t count
    size_t capacity
    char *text
    size_t text_bytes
    int32_t self
    bint unsure               # somebody could not be judged in this pass
    int error


cdef ssize_t c_slurp(c_Hunt *hunt, int32_t pid, const char *name) noexcept nogil:
    """Read a file of /proc/PID whole; its size, or -errno. An environment may be as long as all arguments may be."""
    cdef char[48] path
    cdef ssize_t got
    cdef size_t size = 0
    cdef char *larger
    cdef int descriptor
    c_proc_path(path, pid, name)
    descriptor = c_open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while True:
        if size == hunt.text_bytes:
            larger = <char *>realloc(hunt.text, hunt.text_bytes * 2) if hunt.text_bytes < MOST_TEXT_BYTES else NULL
            if larger == NULL:
                break
            hunt.text = larger
            hunt.text_bytes *= 2
        got = read(descriptor, hunt.text + size, hunt.text_bytes - size)
        if got <= 0:
            break
        size += <size_t>got
    close(descriptor)
    return <ssize_t>size


cdef bint c_has_entry(const char *text, size_t size, const c_Text *entry) noexcept nogil:
    """Whether one of the strings, each ended by a zero, is this one."""
    cdef const char *at = text
    cdef const char *end = text + size
    cdef const char *zero
    while at < end:
        zero = <const char *>memchr(at, 0, <size_t>(end - at))
        if zero == NULL:
            zero = end
        if <size_t>(zero - at) == entry.size and memcmp(at, entry.data, entry.size) == 0:
            return 1
        at = zero + 1
    return 0


cdef bint c_is_in_cgroup(c_Hunt *hunt, int32_t pid) noexcept nogil:
    """Whether it is in the attempt's cgroup or in one below: a component of a path in /proc/PID/cgroup has the name."""
    cdef ssize_t size = c_slurp(hunt, pid, b"cgroup")
    cdef const char *at = hunt.text
    cdef const char *end
    cdef const char *found
    if size <= 0:
        return 0
    end = hunt.text + size
    while True:
        found = <const char *>memmem(at, <size_t>(end - at), hunt.name.data, hunt.name.size)
        if found == NULL:
            return 0
        at = found + hunt.name.size
        if found > hunt.text and (found - 1)[0] == c'/' and at < end and (at[0] == c'\n' or at[0] == c'/'):
            return 1


cdef bint c_is_marked(c_Hunt *hunt, int32_t pid, const c_ProcStat *stat) noexcept nogil:
    """Whether it carries the marks. The command line first: whoever execs in between has its environment by the time of that.

    In the middle of an exec both are empty, as those of zombies and of the kernel's own threads are for ever.
    """
    cdef ssize_t size = c_slurp(hunt, pid, b"cmdline")
    cdef bint named = size > 0
    cdef int n
    if named and <size_t>size == hunt.command_line.size and memcmp(hunt.text, hunt.command_line.data, <size_t>size) == 0:
        return 1
    size = c_slurp(hunt, pid, b"environ")
    if size < 0:
        return 0
    if size == 0:
        hunt.unsure |= not named and stat.virtual_bytes > 0
        return 0
    for n in range(MARKS):
        if not c_has_entry(hunt.text, <size_t>size, &hunt.marks[n]):
            return 0
    return 1


cdef bint c_is_dead(const c_ProcStat *stat) noexcept nogil:
    """A zombie is dead only when it is its process's last thread: a main thread may end before the others."""
    return (stat.state == c'Z' or stat.state == c'X') and stat.thread_count <= 1


cdef int c_read_thread(int32_t pid, const char *thread, c_ProcStat *stat) noexcept nogil:
    """Read /proc/PID/task/TID/stat; 0, or not."""
    cdef char[64] path
    cdef char[1024] text
    cdef ssize_t got
    snprintf(path, 64, b"/proc/%d/task/%s/stat", pid, thread)
    got = c_read_path(path, text, 1024)
    return c_parse_stat(text, <size_t>got, stat) if got > 0 else -1


cdef bint c_is_below(c_Hunt *hunt, int32_t parent) noexcept nogil:
    """Whether that pid is still the one of a held process; its child was read before it."""
    cdef c_ProcStat stat
    if parent <= 0 or parent >= MOST_PIDS or hunt.start_of[parent] == 0:
        return 0
    return c_read_stat(parent, &stat) == 0 and stat.start_ticks + 1 == hunt.start_of[parent]


cdef int c_open_exactly(c_Hunt *hunt, int32_t pid, uint64_t start_ticks) noexcept nogil:
    """A pidfd of a process that lives, or -1."""
    cdef c_ProcStat stat
    cdef int pidfd = <int>syscall(SYS_pidfd_open, pid, <uint32_t>0)
    if pidfd < 0:
        hunt.unsure |= errno == EMFILE or errno == ENFILE
        return -1
    if c_read_stat(pid, &stat) == 0 and stat.start_ticks == start_ticks and not c_is_dead(&stat):
        return pidfd
    close(pidfd)
    return -1


cdef bint c_send(int pidfd, int number, c_Held *held) noexcept nogil:
    cdef bint sent = syscall(SYS_pidfd_send_signal, pidfd, number, <void *>NULL, <uint32_t>0) == 0
    held.foreign = not sent and errno == EPERM
    return sent


cdef bint c_hold(c_Hunt *hunt, int32_t pid, uint64_t start_ticks) noexcept nogil:
    cdef c_Held *more
    cdef size_t capacity = hunt.capacity * 2 if hunt.capacity else 64
    if hunt.count == hunt.capacity:
        more = <c_Held *>realloc(hunt.held, capacity * sizeof(c_Held))
        if more == NULL:
            hunt.error = ENOMEM
            return 0
        hunt.held = more
        hunt.capacity = capacity
    hunt.held[hunt.count].pid = pid
    hunt.held[hunt.count].start_ticks = start_ticks
    hunt.held[hunt.count].foreign = 0
    hunt.held[hunt.count].killed = 0
    hunt.count += 1
    hunt.start_of[pid] = start_ticks + 1
    return 1


cdef int c_take(c_Hunt *hunt, int32_t pid) noexcept nogil:
    """Stop and remember a process if it is one of them; 1 if it is new."""
    cdef c_ProcStat stat
    cdef int pidfd
    cdef bint ours
    if pid == hunt.self or pid <= 0 or pid >= MOST_PIDS or c_read_stat(pid, &stat) != 0 or c_is_dead(&stat):
        return 0
    if hunt.start_of[pid] == stat.start_ticks + 1:
        return 0
    if hunt.name.size > 0:
        ours = c_is_in_cgroup(hunt, pid)
    else:
        ours = c_is_below(hunt, stat.ppid) or c_is_marked(hunt, pid, &stat)
    if not ours:
        return 0
    pidfd = c_open_exactly(hunt, pid, stat.start_ticks)
    if pidfd < 0:
        return 0
    if c_hold(hunt, pid, stat.start_ticks):
        c_send(pidfd, SIGSTOP, &hunt.held[hunt.count - 1])
    close(pidfd)
    return 1


cdef int c_look_in_proc(c_Hunt *hunt) noexcept nogil:
    """Take whom /proc lists, the youngest of each part first; returns how many were new."""
    cdef char[LISTING_BYTES] listing
    cdef int32_t[LISTED] pids
    cdef uint64_t number
    cdef const tm_dirent64 *entry
    cdef const char *end
    cdef long got, at
    cdef int fresh = 0, count
    cdef int descriptor = c_open(b"/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0:
        hunt.unsure = 1
        return 0
    while True:
        got = syscall(SYS_getdents64, descriptor, <char *>listing, LISTING_BYTES)
        if got <= 0:
            break
        at = 0
        count = 0
        while at < got:
            entry = <const tm_dirent64 *>(<char *>listing + at)
            at += entry.d_reclen
            end = entry.d_name + strlen(entry.d_name)
            if c'0' <= entry.d_name[0] <= c'9' and c_number(entry.d_name, end, &number) == end and number < MOST_PIDS:
                pids[count] = <int32_t>number
                count += 1
        while count > 0:
            count -= 1
            fresh += c_take(hunt, pids[count])
    close(descriptor)
    return fresh


cdef int c_look_in_cgroup(c_Hunt *hunt, const char *path) noexcept nogil:
    """Take whom a cgroup.procs lists; returns how many were new. Nobody where there is no such file."""
    cdef char[LISTING_BYTES] listing
    cdef uint64_t number = 0
    cdef bint inside = 0
    cdef ssize_t got, n
    cdef int fresh = 0
    cdef int descriptor = c_open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0:
        hunt.unsure |= errno == EMFILE or errno == ENFILE
        return 0
    while True:
        got = read(descriptor, listing, LISTING_BYTES)
        if got <= 0:
            break
        for n in range(got):
            if c'0' <= listing[n] <= c'9':
                number = number * 10 + <uint64_t>(listing[n] - c'0')
                inside = 1
                continue
            if inside and number < MOST_PIDS:
                fresh += c_take(hunt, <int32_t>number)
            number = 0
            inside = 0
    close(descriptor)
    return fresh


cdef bint c_stands_still(const c_ProcStat *stat) noexcept nogil:
    """Whether it is stopped or dead. The state is the main thread's; where that has ended, all others are asked."""
    cdef char[LISTING_BYTES] listing
    cdef char[48] path
    cdef c_ProcStat thread
    cdef const tm_dirent64 *entry
    cdef long got, at
    cdef bint still = 1
    cdef int descriptor
    if stat.state != c'Z' or stat.thread_count <= 1:
        return stat.state == c'T' or stat.state == c't' or c_is_dead(stat)
    c_proc_path(path, stat.pid, b"task")
    descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0:
        return errno != EMFILE and errno != ENFILE
    while still:
        got = syscall(SYS_getdents64, descriptor, <char *>listing, LISTING_BYTES)
        if got <= 0:
            break
        at = 0
        while at < got and still:
            entry = <const tm_dirent64 *>(<char *>listing + at)
            at += entry.d_reclen
            if c'0' <= entry.d_name[0] <= c'9' and c_read_thread(stat.pid, entry.d_name, &thread) == 0:
                still = thread.state == c'T' or thread.state == c't' or thread.state == c'Z' or thread.state == c'X'
    close(descriptor)
    return still


cdef bint c_all_stand_still(c_Hunt *hunt) noexcept nogil:
    cdef c_ProcStat stat
    cdef size_t n
    for n in range(hunt.count):
        if hunt.held[n].foreign or c_read_stat(hunt.held[n].pid, &stat) != 0:
            continue
        if stat.start_ticks == hunt.held[n].start_ticks and not c_stands_still(&stat):
            return 0
    return 1


cdef size_t c_kill(c_Hunt *hunt) noexcept nogil:
    """Kill those that live; returns how many that were."""
    cdef size_t n, count = 0
    cdef int pidfd
    for n in range(hunt.count):
        if hunt.held[n].foreign:
            continue
        pidfd = c_open_exactly(hunt, hunt.held[n].pid, hunt.held[n].start_ticks)
        if pidfd >= 0:
            hunt.held[n].killed |= c_send(pidfd, SIGKILL, &hunt.held[n])
            count += not hunt.held[n].foreign
            close(pidfd)
    return count


cdef void c_hunt(c_Hunt *hunt, char **cgroups, Py_ssize_t cgroup_count, uint64_t patience_ns) noexcept nogil:
    cdef uint64_t end = c_monotonic_ns() + patience_ns
    cdef int fresh, unsure_passes = 0
    cdef bint still, over
    cdef Py_ssize_t n
    while hunt.error == 0:
        hunt.unsure = 0
        still = c_all_stand_still(hunt)  # before the look, which then misses nobody
        fresh = 0
        for n in range(cgroup_count):
            fresh += c_look_in_cgroup(hunt, cgroups[n])
        if cgroup_count == 0:
            fresh = c_look_in_proc(hunt)
        over = c_monotonic_ns() >= end
        unsure_passes += hunt.unsure
        if not over and (fresh or not still or (hunt.unsure and unsure_passes <= EXEC_PASSES)):
            if not fresh:
                usleep(PAUSE_US)
            continue
        if c_kill(hunt) == 0 or over:
            break
        usleep(PAUSE_US)
    if hunt.error:
        c_kill(hunt)


def kill_leftovers(tuple cgroups not None, bytes name not None, tuple marks not None, bytes command_line not None,
                   double patience_seconds=5.0):
    cdef c_Hunt hunt
    cdef char *paths[8]
    cdef bytes each  # the tuples hold them
    cdef Py_ssize_t n, cgroup_count = len(cgroups)
    cdef size_t i
    cdef uint64_t patience_ns
    cdef int killed = 0
    if len(marks) != MARKS or cgroup_count > 8 or not 0 <= patience_seconds <= 3600 or (cgroup_count and not name):
        raise ValueError("two marks, at most eight cgroups with their name, and a patience of up to an hour are wanted")
    patience_ns = <uint64_t>(patience_seconds * 1e9)
    for n in range(cgroup_count):
        each = cgroups[n]
        paths[n] = each
    for n in range(MARKS):
        each = marks[n]
        hunt.marks[n].data = each
        hunt.marks[n].size = <size_t>len(each)
    hunt.name.data = name
    hunt.name.size = <size_t>len(name) if cgroup_count else 0
    hunt.command_line.data = command_line
    hunt.command_line.size = <size_t>len(command_line)
    hunt.held = NULL
    hunt.count = 0
    hunt.capacity = 0
    hunt.error = 0
    hunt.unsure = 0
    hunt.self = getpid()
    hunt.text_bytes = FIRST_TEXT_BYTES
    with nogil:
        hunt.text = <char *>calloc(1, FIRST_TEXT_BYTES)
        hunt.start_of = <uint64_t *>calloc(MOST_PIDS, sizeof(uint64_t))
        if hunt.text == NULL or hunt.start_of == NULL:
            hunt.error = ENOMEM
        else:
            c_hunt(&hunt, paths, cgroup_count, patience_ns)
        for i in range(hunt.count):
            killed += hunt.held[i].killed
        free(hunt.text)
        free(hunt.start_of)
        free(hunt.held)
    if hunt.error:
        raise_errno(hunt.error, None)
    return killed
