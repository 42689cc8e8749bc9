# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""How many cores a process may use: quotas of its control groups and all their ancestors, its affinity, what is online.

Quotas: cpu.max (Documentation/admin-guide/cgroup-v2.rst of the kernel) and cpu.cfs_quota_us ÷ cpu.cfs_period_us
(Documentation/scheduler/sched-bwc.rst). Where they lie: proc_pid_mountinfo(5) says which control group shows at a mount point,
which in a container is not the root of the hierarchy.
"""

from libc.errno cimport EIO, errno
from libc.stdint cimport uint64_t
from libc.stdio cimport FILE, fclose, fopen, getline, snprintf, sscanf
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memmove, strcmp, strcspn, strlen, strncmp, strrchr, strstr

from metercore._c.linux cimport _SC_NPROCESSORS_ONLN, CPU_COUNT_S, cpu_set_t, getpid, sched_getaffinity, sysconf
from metercore.cgroup cimport c_parse_cpu_max, c_parse_count
from metercore.descriptors cimport c_read_path
from metercore.errors cimport raise_errno

import os


cdef bint c_lists_cpu(const char *list_, size_t size) noexcept nogil:
    """Tell whether a list with commas has the item "cpu"."""
    cdef const char *end = list_ + size
    cdef const char *comma
    while True:
        comma = <const char *>memchr(list_, c',', <size_t>(end - list_))
        if comma == NULL:
            return end - list_ == 3 and memcmp(list_, b"cpu", 3) == 0
        if comma - list_ == 3 and memcmp(list_, b"cpu", 3) == 0:
            return 1
        list_ = comma + 1


cdef void c_unescape(char *text) noexcept nogil:
    r"""Undo, in place, how the kernel writes blanks, newlines and backslashes in a path: \ooo (seq_path in fs/seq_file.c)."""
    cdef size_t left = strlen(text)
    while left > 3:
        if text[0] == c'\\' and c'0' <= text[1] <= c'3' and c'0' <= text[2] <= c'7' and c'0' <= text[3] <= c'7':
            text[0] = <char>(((text[1] - c'0') << 6) | ((text[2] - c'0') << 3) | (text[3] - c'0'))
            left -= 3
            memmove(text + 1, text + 4, left)
        text += 1
        left -= 1


cdef void c_take_mount(char *line, c_CpuMounts *mounts) noexcept nogil:
    """Keep a line of mountinfo if it is a hierarchy with quotas; of several mounts of one, that which shows the most of it."""
    cdef c_Hierarchy found
    cdef c_Hierarchy *kept
    cdef char[16] kind
    cdef char *options
    cdef char *rest = strstr(line, b" - ")
    if rest == NULL or sscanf(rest + 3, b"%15s", <char *>kind) != 1:
        return
    line[strcspn(line, b"\n")] = 0
    options = strrchr(rest, c' ') + 1
    if strcmp(kind, b"cgroup2") == 0:
        kept = &mounts.v2
    elif strcmp(kind, b"cgroup") == 0 and c_lists_cpu(options, strlen(options)):
        kept = &mounts.v1
    else:
        return
    if sscanf(line, b"%*s %*s %*s %4095s %4095s", <char *>found.root, <char *>found.point) != 2:
        return
    c_unescape(found.root)
    c_unescape(found.point)
    if kept.root[0] != 0 and strlen(kept.root) <= strlen(found.root):
        return
    if strcmp(found.point, b"/") == 0:
        found.point[0] = 0
    memcpy(kept, &found, sizeof(found))


cdef int c_cpu_mounts(const char *mountinfo, c_CpuMounts *mounts) noexcept nogil:
    """Find where hierarchies with CPU quotas are mounted; 0, also if none is, or -errno. Once is enough: mounts stay."""
    cdef char *line = NULL
    cdef size_t room = 0
    cdef FILE *file = fopen(mountinfo, b"re")
    mounts.v2.root[0] = 0
    mounts.v1.root[0] = 0
    if file == NULL:
        return -errno
    while getline(&line, &room, file) > 0:
        c_take_mount(line, mounts)
    free(line)
    fclose(file)
    return 0


cdef double c_quota_v2(char *path, size_t size) noexcept nogil:
    """The quota of the control group at path[:size], a buffer with room for more; 0.0 = none, or no such file."""
    cdef char[128] text
    cdef ssize_t got
    memcpy(path + size, b"/cpu.max", 9)
    got = c_read_path(path, text, 128)
    return c_parse_cpu_max(text, <size_t>got) if got > 0 else 0.0


cdef double c_quota_v1(char *path, size_t size) noexcept nogil:
    cdef char[64] text
    cdef uint64_t quota_us, period_us
    cdef ssize_t got
    memcpy(path + size, b"/cpu.cfs_quota_us", 18)
    got = c_read_path(path, text, 64)
    if got <= 0 or not c_parse_count(text, <size_t>got, &quota_us):  # -1, no limit, is read as 0
        return 0.0
    memcpy(path + size, b"/cpu.cfs_period_us", 19)
    got = c_read_path(path, text, 64)
    if got <= 0 or not c_parse_count(text, <size_t>got, &period_us) or period_us == 0:
        return 0.0
    return <double>quota_us / <double>period_us


cdef void c_lower_to_quotas(
    const c_Hierarchy *mount, bint v2, const char *group, size_t group_size, double *cores
) noexcept nogil:
    """Take the lowest quota from the control group up to the one at the mount point; what lies above cannot be seen."""
    cdef char[2 * LIMIT_PATH_BYTES + 32] path
    cdef size_t root_size = strlen(mount.root)
    cdef size_t point_size = strlen(mount.point)
    cdef size_t size
    cdef double quota
    if root_size == 1:  # "/"
        root_size = 0
    # Outside of what is mounted there, or of our cgroup namespace (cgroup_namespaces(7)): only what is above could be meant.
    if group_size < root_size or memcmp(group, mount.root, root_size) != 0:
        return
    if group_size > root_size and group[root_size] != c'/':
        return
    if group_size >= 3 and memcmp(group, b"/..", 3) == 0 and (group_size == 3 or group[3] == c'/'):
        return
    group += root_size
    group_size -= root_size
    if group_size == 1:  # "/"
        group_size = 0
    if group_size >= LIMIT_PATH_BYTES:
        return
    memcpy(path, mount.point, point_size)
    memcpy(path + point_size, group, group_size)
    size = point_size + group_size
    while True:
        quota = c_quota_v2(path, size) if v2 else c_quota_v1(path, size)
        if quota > 0.0 and (cores[0] <= 0.0 or quota < cores[0]):
            cores[0] = quota
        if size == point_size:
            return
        size -= 1
        while size > point_size and path[size] != c'/':
            size -= 1


cdef int c_quota_cores(const c_CpuMounts *mounts, const char *membership, double *cores) noexcept nogil:
    """The lowest quota over the control groups in the file /proc/PID/cgroup and their ancestors; 0.0 = none. 0 or -errno."""
    cdef char[16384] text
    cdef const char *at = text
    cdef const char *end
    cdef const char *stop
    cdef const char *controllers
    cdef const char *group
    cdef ssize_t got = c_read_path(membership, text, 16384)
    cores[0] = 0.0
    if got < 0:
        return <int>got
    end = text + got
    while at < end:
        stop = <const char *>memchr(at, c'\n', <size_t>(end - at))
        if stop == NULL:
            return -EIO
        controllers = <const char *>memchr(at, c':', <size_t>(stop - at))
        if controllers == NULL:
            return -EIO
        group = <const char *>memchr(controllers + 1, c':', <size_t>(stop - controllers - 1))
        if group == NULL:
            return -EIO
        if strncmp(at, b"0:", 2) == 0:
            if mounts.v2.root[0] != 0:
                c_lower_to_quotas(&mounts.v2, 1, group + 1, <size_t>(stop - group - 1), cores)
        elif mounts.v1.root[0] != 0 and c_lists_cpu(controllers + 1, <size_t>(group - controllers - 1)):
            c_lower_to_quotas(&mounts.v1, 0, group + 1, <size_t>(stop - group - 1), cores)
        at = stop + 1
    return 0


cdef int c_affinity_count(int pid) noexcept nogil:
    """How many processors the main thread of `pid` may run on, cpusets included (sched_getaffinity(2)); or -errno."""
    cdef uint64_t[128] mask  # 8192 processors, the most that x86 kernels are built for: less room would be EINVAL there
    if sched_getaffinity(pid, sizeof(mask), <cpu_set_t *>mask) != 0:
        return -errno
    return CPU_COUNT_S(sizeof(mask), <cpu_set_t *>mask)


cdef int c_limit_cores(const c_CpuMounts *mounts, int pid, double *cores) noexcept nogil:
    """min(quota, affinity, online) of a process; 0, or -errno, and then `cores` is as it was."""
    cdef char[48] path
    cdef double quota
    cdef double allowed = <double>sysconf(_SC_NPROCESSORS_ONLN)
    cdef int count = c_affinity_count(pid)
    cdef int error
    if count < 0:
        return count
    snprintf(path, 48, b"/proc/%d/cgroup", pid)
    error = c_quota_cores(mounts, path, &quota)
    if error != 0:
        return error
    allowed = min(allowed, <double>count)
    cores[0] = min(allowed, quota) if quota > 0.0 else allowed
    return 0


cdef double c_limit_percent(double cores, double allowed) noexcept nogil:
    return min(100.0 * cores / allowed, 100.0)


cdef int c_find_mounts(str proc, c_CpuMounts *mounts) except -1:
    path = f"{proc}/self/mountinfo"
    cdef bytes encoded = os.fsencode(path)
    cdef int error = c_cpu_mounts(encoded, mounts)
    if error != 0:
        raise_errno(-error, path)
    return 0


cdef class CpuLimit:
    """Tell how many cores a process may use, and what share of them some cores are.

    cores = min(lowest quota of its control groups and their ancestors, its main thread's affinity, processors online); 100 % is
    all of that. `pid` 0 is this process; `proc` is where procfs is mounted. Raises OSError, as ProcessLookupError or
    FileNotFoundError for a process that is gone.

    >>> limit = CpuLimit()
    >>> 0.0 < limit.cores <= limit.online_count
    True
    >>> limit.percent(limit.cores / 4)
    25.0
    """

    def __cinit__(self, int pid=0, *, str proc not None="/proc"):
        self.pid = pid if pid != 0 else getpid()
        # By "self", as `proc` may belong to another pid namespace than ours.
        self.membership = os.fsencode(f"{proc}/{pid or 'self'}/cgroup")
        c_find_mounts(proc, &self.mounts)
        self.refresh()

    def refresh(self):
        """Read the limits again, and return `cores`: quotas and affinity can change at any time."""
        cdef double quota
        cdef int error
        cdef int count = c_affinity_count(self.pid)
        if count < 0:
            raise_errno(-count, f"pid {self.pid}")
        error = c_quota_cores(&self.mounts, self.membership, &quota)
        if error != 0:
            raise_errno(-error, os.fsdecode(self.membership))
        self.affinity_count = count
        self.online_count = <int>sysconf(_SC_NPROCESSORS_ONLN)
        self.quota = quota
        return self.cores

    @property
    def cores(self):
        """The cores it may use, as of the last refresh."""
        cdef double cores = <double>min(self.affinity_count, self.online_count)
        return min(cores, self.quota) if self.quota > 0.0 else cores

    @property
    def quota_cores(self):
        """The lowest quota alone, or None without any."""
        return self.quota or None

    def percent(self, double cores):
        """Return 100 × cores ÷ the cores it may use, at most 100. Raises ValueError when that is negative or not a number."""
        return percent(cores, self.cores)


def allowed_cores(int pid=0):
    """Return the cores that a process may use: `CpuLimit(pid).cores`. Raises OSError."""
    return CpuLimit(pid).cores


def quota_cores(int pid=0):
    """Return the lowest CPU quota over a process's control groups and their ancestors, in cores; None without any.

    Raises OSError.
    """
    return CpuLimit(pid).quota_cores


def percent(double cores, double allowed):
    """Return 100 × cores ÷ allowed, at most 100: a little more than all is noise of the kernel's accounting.

    Raises ValueError unless cores is at least 0 and allowed greater than 0.

    >>> percent(0.5, 2.0), percent(2.02, 2.0)
    (25.0, 100.0)
    """
    if not cores >= 0.0:
        raise ValueError("cores must be at least 0")
    if not allowed > 0.0:
        raise ValueError("allowed must be greater than 0")
    return c_limit_percent(cores, allowed)
