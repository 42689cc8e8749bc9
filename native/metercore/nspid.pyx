# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Who a pid is that a driver reports, when driver and reader do not live in the same pid namespace.

NVIDIA's driver reports pids of the initial namespace, or of the caller's own, depending on its version
(github.com/NVIDIA/nvidia-docker/issues/1483, github.com/NVIDIA/open-gpu-kernel-modules/pull/614). In the initial namespace both
are the same. In another one a reported number may by chance be that of an innocent process here, so it is only believed of a
process that has a file of the driver open; failing that, of one whose NSpid (proc_pid_status(5)) holds it.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport atoi, free, realloc
from libc.string cimport memmove, memset, strncmp, strrchr

from metercore.descriptors cimport c_read_path
from metercore.procfs cimport c_parse_stat, c_ProcStat

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    struct dirent:
        char d_name[256]
    DIR *opendir(const char *path)
    dirent *readdir(DIR *directory)
    int closedir(DIR *directory)


cdef extern from "<unistd.h>" nogil:
    ssize_t readlink(const char *path, char *target, size_t size)


cdef extern from "<string.h>" nogil:
    char *strstr(const char *text, const char *part)


cdef extern from "<stdlib.h>" nogil:
    long strtol(const char *text, char **end, int base)

cdef uint64_t AGAIN_NS = 30000000000u         # one who is nobody here is looked for anew so often: it costs a pass over /proc

cdef enum:
    PATH_BYTES = 512


cdef void c_pids_open(c_PidSpace *space, const char *proc_path, bint nested) noexcept nogil:
    memset(space, 0, sizeof(c_PidSpace))
    snprintf(space.proc_path, sizeof(space.proc_path), b"%s", proc_path)
    space.nested = nested


cdef void c_pids_close(c_PidSpace *space) noexcept nogil:
    free(space.known)
    memset(space, 0, sizeof(c_PidSpace))


cdef bint c_pids_nested() noexcept nogil:
    """Tell whether this process lives outside the initial pid namespace."""
    cdef char[64] link
    cdef ssize_t got = readlink(b"/proc/self/ns/pid", link, sizeof(link) - 1)
    if got <= 0:
        return 0
    link[got] = 0
    # The initial one has a fixed inode: PROC_PID_INIT_INO, 0xEFFFFFFC (kernel: include/linux/proc_ns.h).
    return strncmp(link, b"pid:[4026531836]", 16) != 0


cdef uint64_t c_start_ticks(const c_PidSpace *space, int32_t pid) noexcept nogil:
    """When a process started; 0 if there is none."""
    cdef char[PATH_BYTES] path
    cdef char[1024] text
    cdef c_ProcStat stat
    cdef ssize_t got
    snprintf(path, sizeof(path), b"%s/%d/stat", space.proc_path, pid)
    got = c_read_path(path, text, sizeof(text))
    return stat.start_ticks if got > 0 and c_parse_stat(text, <size_t>got, &stat) == 0 else 0


cdef bint c_uses_driver(const c_PidSpace *space, int32_t pid) noexcept nogil:
    """Tell whether a process has a file open whose name begins with "nvidia": /dev/nvidia0, nvidiactl, nvidia-caps/…"""
    cdef char[PATH_BYTES] path
    cdef char[PATH_BYTES] target
    cdef const char *name
    cdef ssize_t got
    cdef DIR *directory
    cdef dirent *entry
    cdef bint uses = 0
    snprintf(path, sizeof(path), b"%s/%d/fd", space.proc_path, pid)
    directory = opendir(path)
    if directory == NULL:
        return 0
    entry = readdir(directory)
    while entry != NULL and not uses:
        snprintf(path, sizeof(path), b"%s/%d/fd/%.20s", space.proc_path, pid, entry.d_name)
        got = readlink(path, target, sizeof(target) - 1)
        if got > 0:
            target[got] = 0
            name = strrchr(target, c'/')
            uses = name != NULL and strncmp(name, b"/nvidia", 7) == 0
        entry = readdir(directory)
    closedir(directory)
    return uses


cdef c_Known *c_lookup(const c_PidSpace *space, int32_t reported, uint32_t *place) noexcept nogil:
    """Find who is known under a reported pid; NULL if nobody, and where it would be."""
    cdef uint32_t low = 0
    cdef uint32_t high = space.known_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if space.known[middle].reported < reported:
            low = middle + 1
        else:
            high = middle
    place[0] = low
    return &space.known[low] if low < space.known_count and space.known[low].reported == reported else NULL


cdef int c_enter(c_PidSpace *space, int32_t reported, uint32_t place) noexcept nogil:
    cdef c_Known *more
    if space.known_count == space.known_room:
        more = <c_Known *>realloc(space.known, (space.known_room * 2 + 64) * sizeof(c_Known))
        if more == NULL:
            return -ENOMEM
        space.known = more
        space.known_room = space.known_room * 2 + 64
    memmove(&space.known[place + 1], &space.known[place], (space.known_count - place) * sizeof(c_Known))
    memset(&space.known[place], 0, sizeof(c_Known))
    space.known[place].reported = reported
    space.known_count += 1
    return 0


cdef void c_match(c_PidSpace *space, int32_t pid) noexcept nogil:
    """See whether one of the pids that nobody here is known for stands in the NSpid of this process."""
    cdef char[PATH_BYTES] path
    cdef char[4096] text
    cdef const char *at
    cdef char *end = NULL
    cdef ssize_t got
    cdef long number
    cdef uint32_t _place
    cdef c_Known *known
    snprintf(path, sizeof(path), b"%s/%d/status", space.proc_path, pid)
    got = c_read_path(path, text, sizeof(text) - 1)
    if got <= 0:
        return
    text[got] = 0
    at = strstr(text, b"\nNSpid:")
    if at == NULL:
        return
    at += 7
    while True:
        number = strtol(at, &end, 10)
        # A blank is skipped by strtol as well, so that it must not run on into the next line, which begins with a name.
        if end == at or number <= 0:
            return
        at = end
        known = c_lookup(space, <int32_t>number, &_place)
        if known != NULL and known.pid == 0 and c_uses_driver(space, pid):
            known.pid = pid
            known.start_ticks = c_start_ticks(space, pid)


cdef void c_search(c_PidSpace *space) noexcept nogil:
    """Pass over /proc once for all whom nobody here is known for."""
    cdef DIR *directory = opendir(space.proc_path)
    cdef dirent *entry
    if directory == NULL:
        return
    entry = readdir(directory)
    while entry != NULL:
        if c'1' <= entry.d_name[0] <= c'9':
            c_match(space, atoi(entry.d_name))
        entry = readdir(directory)
    closedir(directory)


cdef int c_pids_resolve(c_PidSpace *space, const int32_t *reported, uint32_t count, uint64_t now_ns) noexcept nogil:
    """Find out who the reported are, and forget whoever is no longer reported; 0 or -ENOMEM."""
    cdef uint32_t n, place
    cdef uint32_t kept = 0
    cdef uint64_t ticks
    cdef bint search = 0
    cdef c_Known *known
    if not space.nested:
        return 0
    for n in range(count):
        known = c_lookup(space, reported[n], &place)
        if known == NULL:
            if c_enter(space, reported[n], place) != 0:
                return -ENOMEM
            known = &space.known[place]
        known.seen = 1
        if known.pid != 0 and c_start_ticks(space, known.pid) == known.start_ticks:
            continue
        known.pid = 0
        if known.next_try_ns > now_ns:
            continue
        known.next_try_ns = now_ns + AGAIN_NS
        ticks = c_start_ticks(space, known.reported)
        if ticks != 0 and c_uses_driver(space, known.reported):
            known.pid = known.reported
            known.start_ticks = ticks
        else:
            search = 1
    if search:
        c_search(space)
    for n in range(space.known_count):
        if space.known[n].seen:
            space.known[kept] = space.known[n]
            space.known[kept].seen = 0
            kept += 1
    space.known_count = kept
    return 0


cdef int32_t c_pid_here(const c_PidSpace *space, int32_t reported, uint64_t *start_ticks) noexcept nogil:
    """The pid here of whom c_pids_resolve was given last, and when it started (0 = it has gone); 0 if it is nobody here."""
    cdef uint32_t _place
    cdef c_Known *known
    if not space.nested:
        start_ticks[0] = c_start_ticks(space, reported)
        return reported
    known = c_lookup(space, reported, &_place)
    start_ticks[0] = known.start_ticks if known != NULL else 0
    return known.pid if known != NULL else 0
