# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Parsers of /proc/PID text over byte buffers, and their readers.

Every parser returns 0, or -1 when the text is not what proc(5) says; every reader 0 or -errno. Nothing is trusted: a number
that is missing is a failure, never 0.
"""

from libc.errno cimport EIO, ENOENT, errno
from libc.stdint cimport int32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, memmove

from metercore._c.linux cimport (
    _SC_CLK_TCK,
    _SC_PAGESIZE,
    O_CLOEXEC,
    O_RDONLY,
    c_open,
    close,
    read,
    sysconf,
)
from metercore.descriptors cimport c_read_path
from metercore.errors cimport raise_errno

from typing import NamedTuple


cdef extern from "<string.h>" nogil:
    void *memrchr(const void *text, int byte, size_t size)

cdef uint64_t c_tick_ns = 1000000000u // <uint64_t>sysconf(_SC_CLK_TCK)
cdef uint64_t c_page_bytes = <uint64_t>sysconf(_SC_PAGESIZE)

cdef enum:
    STATUS_TAIL = 1024  # more than the lines from RssAnon to VmSwap take

cdef uint64_t MOST = 0xFFFFFFFFFFFFFFFFu
cdef uint64_t MOST_INT32 = 0x7FFFFFFFu


cdef const char *c_number(const char *at, const char *end, uint64_t *value) noexcept nogil:
    """Parse blanks, an optional minus (read as 0: the kernel prints -1 for "none") and digits.

    NULL if there are none, or if they are more than 64 bits hold.
    """
    cdef uint64_t result = 0
    cdef uint64_t digit
    cdef bint negative = 0
    cdef const char *start
    while at < end and (at[0] == c' ' or at[0] == c'\t'):
        at += 1
    if at < end and at[0] == c'-':
        negative = 1
        at += 1
    start = at
    while at < end and c'0' <= at[0] <= c'9':
        digit = <uint64_t>(at[0] - c'0')
        if result >= MOST // 10 and (result > MOST // 10 or digit > MOST % 10):
            return NULL
        result = result * 10 + digit
        at += 1
    if at == start:
        return NULL
    value[0] = 0 if negative else result
    return at


cdef int c_parse_stat(const char *text, size_t size, c_ProcStat *result) noexcept nogil:
    """Parse /proc/PID/stat. `comm` may hold blanks, newlines and ")", so fields count from the last ")"."""
    cdef const char *end = text + size
    cdef const char *at = <const char *>memrchr(text, c')', size)
    cdef uint64_t[25] field
    cdef uint64_t pid
    cdef int n
    if at == NULL or c_number(text, end, &pid) == NULL or at + 3 >= end or at[1] != c' ':
        return -1
    result.state = at[2]
    at += 3
    for n in range(4, 25):  # field numbers of proc(5): 4 ppid … 24 rss
        at = c_number(at, end, &field[n])
        if at == NULL:
            return -1
    if pid > MOST_INT32 or field[4] > MOST_INT32 or field[20] > MOST_INT32:
        return -1
    if field[14] > MOST - field[15] or field[16] > MOST - field[17]:
        return -1
    result.pid = <int32_t>pid
    result.ppid = <int32_t>field[4]
    result.cpu_ticks = field[14] + field[15]
    result.children_cpu_ticks = field[16] + field[17]
    result.minor_faults = field[10] + field[11]
    result.major_faults = field[12] + field[13]
    result.thread_count = <int32_t>field[20]
    result.start_ticks = field[22]
    result.virtual_bytes = field[23]
    result.rss_pages = field[24]
    return 0


cdef int c_parse_statm(const char *text, size_t size, uint64_t *resident_pages, uint64_t *shared_pages) noexcept nogil:
    """Parse /proc/PID/statm; shared counts file pages too."""
    cdef uint64_t total
    cdef const char *end = text + size
    cdef const char *at = c_number(text, end, &total)
    if at != NULL:
        at = c_number(at, end, resident_pages)
    if at != NULL:
        at = c_number(at, end, shared_pages)
    return 0 if at != NULL else -1


cdef bint c_field(const char *text, size_t size, const char *name, size_t name_size, uint64_t *value) noexcept nogil:
    """Find the line that begins with `name` and parse the number behind it; 0 if there is no such line."""
    cdef const char *end = text + size
    cdef const char *at = text
    while at != NULL and at + name_size < end:
        if memcmp(at, name, name_size) == 0:
            return c_number(at + name_size, end, value) != NULL
        at = <const char *>memchr(at, c'\n', <size_t>(end - at))
        if at != NULL:
            at += 1
    return 0


cdef bint c_kb_field(const char *text, size_t size, const char *name, size_t name_size, uint64_t *bytes_) noexcept nogil:
    if not c_field(text, size, name, name_size, bytes_) or bytes_[0] > MOST // 1024:
        return 0
    bytes_[0] *= 1024
    return 1


cdef int c_parse_status(const char *text, size_t size, c_ProcMemory *result) noexcept nogil:
    """Parse RssAnon, RssFile, RssShmem and VmSwap of /proc/PID/status; a zombie has none of them: -1."""
    cdef const char *rss = NULL
    cdef const char *end = text + size
    cdef const char *at = text
    # Name: comes first and may hold anything but a newline; the four are neighbours, so find the first and go on from it.
    while at != NULL and at + 8 < end:
        if memcmp(at, b"RssAnon:", 8) == 0:
            rss = at
            break
        at = <const char *>memchr(at, c'\n', <size_t>(end - at))
        if at != NULL:
            at += 1
    if rss == NULL:
        return -1
    size = <size_t>(end - rss)
    if not c_kb_field(rss, size, b"RssAnon:", 8, &result.anonymous_bytes):
        return -1
    if not c_kb_field(rss, size, b"RssFile:", 8, &result.file_bytes):
        return -1
    if not c_kb_field(rss, size, b"RssShmem:", 9, &result.shared_bytes):
        return -1
    if not c_kb_field(rss, size, b"VmSwap:", 7, &result.swap_bytes):
        result.swap_bytes = 0  # kernels without swap print no such line
    return 0


cdef int c_parse_rollup(const char *text, size_t size, c_ProcMemory *result) noexcept nogil:
    """Parse Pss_Anon, Pss_File, Pss_Shmem and SwapPss of /proc/PID/smaps_rollup (Linux 5.15 and later)."""
    if not c_kb_field(text, size, b"Pss_Anon:", 9, &result.anonymous_bytes):
        return -1
    if not c_kb_field(text, size, b"Pss_File:", 9, &result.file_bytes):
        return -1
    if not c_kb_field(text, size, b"Pss_Shmem:", 10, &result.shared_bytes):
        return -1
    if not c_kb_field(text, size, b"SwapPss:", 8, &result.swap_bytes):
        result.swap_bytes = 0
    return 0


cdef int c_parse_io(const char *text, size_t size, c_ProcIo *result) noexcept nogil:
    """Parse read_bytes and write_bytes of /proc/PID/io: what went to and came from storage, not the page cache."""
    if not c_field(text, size, b"read_bytes:", 11, &result.read_bytes):
        return -1
    return 0 if c_field(text, size, b"write_bytes:", 12, &result.write_bytes) else -1


cdef int c_parse_switches(const char *text, size_t size, uint64_t *voluntary, uint64_t *involuntary) noexcept nogil:
    """Parse the context switches of one thread from /proc/TID/status."""
    if not c_field(text, size, b"voluntary_ctxt_switches:", 24, voluntary):
        return -1
    return 0 if c_field(text, size, b"nonvoluntary_ctxt_switches:", 27, involuntary) else -1


cdef void c_proc_path(char *path, int pid, const char *name) noexcept nogil:
    """Write "/proc/PID/name" into a buffer of at least 48 bytes."""
    snprintf(path, 48, b"/proc/%d/%s", pid, name)


cdef ssize_t c_slurp(int pid, const char *name, char *buffer, size_t size) noexcept nogil:
    cdef char[48] path
    c_proc_path(path, pid, name)
    cdef ssize_t got = c_read_path(path, buffer, size)
    # A process that has gone between open and read gives ESRCH, or an empty file.
    return got if got != 0 else -ENOENT


cdef int c_read_stat(int pid, c_ProcStat *result) noexcept nogil:
    cdef char[1024] buffer
    cdef ssize_t got = c_slurp(pid, b"stat", buffer, 1024)
    if got < 0:
        return <int>got
    return 0 if c_parse_stat(buffer, <size_t>got, result) == 0 else -EIO


cdef int c_read_memory(int pid, c_ProcMemory *result) noexcept nogil:
    """Read status by parts: the groups of the process come before its memory, and there may be 65,536 of them."""
    cdef char[48] path
    cdef char[4096] buffer
    cdef size_t size = 0
    cdef ssize_t got
    cdef uint64_t thread_count
    cdef int descriptor, error
    cdef bint whole
    c_proc_path(path, pid, b"status")
    descriptor = c_open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while True:
        got = read(descriptor, buffer + size, 4096 - size)
        if got < 0:
            error = -errno
            break
        size += <size_t>got
        if size == 0:
            error = -ENOENT  # gone between open and read
            break
        whole = size < 4096 or got == 0
        # A line that comes after all four (fs/proc/array.c) says that they are whole.
        if whole or c_field(buffer, size, b"Threads:", 8, &thread_count):
            error = 0 if c_parse_status(buffer, size, result) == 0 else -EIO
            if error == 0 or whole:
                break
        memmove(buffer, buffer + 4096 - STATUS_TAIL, STATUS_TAIL)
        size = STATUS_TAIL
    close(descriptor)
    return error


cdef int c_read_rollup(int pid, c_ProcMemory *result) noexcept nogil:
    cdef char[2048] buffer
    cdef ssize_t got = c_slurp(pid, b"smaps_rollup", buffer, 2048)
    if got < 0:
        return <int>got
    return 0 if c_parse_rollup(buffer, <size_t>got, result) == 0 else -EIO


cdef int c_read_io(int pid, c_ProcIo *result) noexcept nogil:
    cdef char[512] buffer
    cdef ssize_t got = c_slurp(pid, b"io", buffer, 512)
    if got < 0:
        return <int>got
    return 0 if c_parse_io(buffer, <size_t>got, result) == 0 else -EIO


class ProcStat(NamedTuple):
    """What is metered of /proc/PID/stat; ticks are those of sysconf(_SC_CLK_TCK)."""

    pid: int
    ppid: int
    state: str
    cpu_ticks: int
    children_cpu_ticks: int
    thread_count: int
    start_ticks: int
    rss_pages: int


class ProcMemory(NamedTuple):
    """Memory of one process in bytes: resident (from status) or proportional (from smaps_rollup)."""

    anonymous_bytes: int
    file_bytes: int
    shared_bytes: int
    swap_bytes: int


class ProcIo(NamedTuple):
    """Bytes that a process caused to be fetched from and sent to storage."""

    read_bytes: int
    write_bytes: int


cdef object c_stat_tuple(const c_ProcStat *s):
    return ProcStat(
        s.pid, s.ppid, chr(<unsigned char>s.state), s.cpu_ticks, s.children_cpu_ticks, s.thread_count, s.start_ticks, s.rss_pages
    )


cdef object c_memory_tuple(const c_ProcMemory *m):
    return ProcMemory(m.anonymous_bytes, m.file_bytes, m.shared_bytes, m.swap_bytes)


def parse_stat(bytes text not None):
    """Parse the text of /proc/PID/stat. Raises ValueError when it is malformed."""
    cdef c_ProcStat result
    if c_parse_stat(text, <size_t>len(text), &result) != 0:
        raise ValueError("not the text of /proc/PID/stat")
    return c_stat_tuple(&result)


def parse_statm(bytes text not None):
    """Parse the text of /proc/PID/statm to (resident_pages, shared_pages). Raises ValueError when it is malformed."""
    cdef uint64_t resident, shared
    if c_parse_statm(text, <size_t>len(text), &resident, &shared) != 0:
        raise ValueError("not the text of /proc/PID/statm")
    return resident, shared


def parse_status(bytes text not None):
    """Parse the memory lines of /proc/PID/status. Raises ValueError when they are missing, as for a zombie."""
    cdef c_ProcMemory result
    if c_parse_status(text, <size_t>len(text), &result) != 0:
        raise ValueError("no memory lines in /proc/PID/status")
    return c_memory_tuple(&result)


def parse_rollup(bytes text not None):
    """Parse the proportional sizes of /proc/PID/smaps_rollup. Raises ValueError when they are missing."""
    cdef c_ProcMemory result
    if c_parse_rollup(text, <size_t>len(text), &result) != 0:
        raise ValueError("not the text of /proc/PID/smaps_rollup")
    return c_memory_tuple(&result)


def parse_io(bytes text not None):
    """Parse the text of /proc/PID/io. Raises ValueError when it is malformed."""
    cdef c_ProcIo result
    if c_parse_io(text, <size_t>len(text), &result) != 0:
        raise ValueError("not the text of /proc/PID/io")
    return ProcIo(result.read_bytes, result.write_bytes)


def read_stat(int pid):
    """Read and parse /proc/PID/stat. Raises OSError."""
    cdef c_ProcStat result
    cdef int error = c_read_stat(pid, &result)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/stat")
    return c_stat_tuple(&result)


def read_memory(int pid):
    """Read resident memory from /proc/PID/status. Raises OSError."""
    cdef c_ProcMemory result
    cdef int error = c_read_memory(pid, &result)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/status")
    return c_memory_tuple(&result)


def read_rollup(int pid):
    """Read proportional memory from /proc/PID/smaps_rollup: needs the right to trace the process. Raises OSError."""
    cdef c_ProcMemory result
    cdef int error = c_read_rollup(pid, &result)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/smaps_rollup")
    return c_memory_tuple(&result)


def read_io(int pid):
    """Read /proc/PID/io: needs the right to trace the process. Raises OSError."""
    cdef c_ProcIo result
    cdef int error = c_read_io(pid, &result)
    if error != 0:
        raise_errno(-error, f"/proc/{pid}/io")
    return ProcIo(result.read_bytes, result.write_bytes)
