# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What a control group says about its members: CPU, memory, processes, limits.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.
"""

from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memchr, memcmp

from metercore._c.linux cimport O_CLOEXEC, O_RDONLY, c_open, close, read
from metercore.errors cimport raise_errno
from metercore.procfs cimport c_field, c_number

import os

cdef uint64_t MOST = 0xFFFFFFFFFFFFFFFFu
cdef int64_t MOST_ID = 0x7FFFFFFF


cdef bint c_parse_usage(const char *text, size_t size, uint64_t *cpu_ns) noexcept nogil:
    """Parse usage_usec of v2 cpu.stat."""
    if not c_field(text, size, b"usage_usec ", 11, cpu_ns) or cpu_ns[0] > MOST // 1000:
        return 0
    cpu_ns[0] *= 1000
    return 1


cdef bint c_parse_memory_v2(const char *text, size_t size, uint64_t *bytes_) noexcept nogil:
    """Parse anon + shmem of v2 memory.stat: what a task holds, without the page cache of the files it touched."""
    cdef uint64_t anonymous, shared
    if not c_field(text, size, b"anon ", 5, &anonymous) or not c_field(text, size, b"shmem ", 6, &shared):
        return 0
    bytes_[0] = anonymous + shared
    return bytes_[0] >= anonymous


cdef bint c_parse_memory_v1(const char *text, size_t size, uint64_t *bytes_) noexcept nogil:
    """Parse total_rss + total_shmem + total_swap of v1 memory.stat (rss there is anonymous memory only)."""
    cdef uint64_t anonymous, shared, swap
    if not c_field(text, size, b"total_rss ", 10, &anonymous):
        return 0
    if not c_field(text, size, b"total_shmem ", 12, &shared):
        shared = 0  # kernels before 4.20 count it under cache only
    if not c_field(text, size, b"total_swap ", 11, &swap):
        swap = 0  # swap accounting is off
    if shared > MOST - anonymous or swap > MOST - anonymous - shared:
        return 0
    bytes_[0] = anonymous + shared + swap
    return 1


cdef bint c_parse_count(const char *text, size_t size, uint64_t *value) noexcept nogil:
    """Parse a file that holds one number; 0 for "max"."""
    return c_field(text, size, b"", 0, value)


cdef double c_parse_cpu_max(const char *text, size_t size) noexcept nogil:
    """Parse v2 cpu.max, "QUOTA PERIOD" in µs, to cores; 0.0 = no limit."""
    cdef uint64_t quota, period
    cdef const char *end = text + size
    cdef const char *at = c_number(text, end, &quota)
    if at == NULL or c_number(at, end, &period) == NULL or period == 0:
        return 0.0
    return <double>quota / <double>period


cdef bint c_parse_io_stat(const char *text, size_t size, uint64_t *read_bytes, uint64_t *write_bytes) noexcept nogil:
    """Sum rbytes= and wbytes= over the devices of v2 io.stat."""
    cdef const char *end = text + size
    cdef const char *at = text
    cdef uint64_t value
    read_bytes[0] = 0
    write_bytes[0] = 0
    while at != NULL and at + 7 < end:
        if memcmp(at, b"rbytes=", 7) == 0 and c_field(at, <size_t>(end - at), b"rbytes=", 7, &value):
            read_bytes[0] += value
        elif memcmp(at, b"wbytes=", 7) == 0 and c_field(at, <size_t>(end - at), b"wbytes=", 7, &value):
            write_bytes[0] += value
        at = <const char *>memchr(at, c' ', <size_t>(end - at))
        if at != NULL:
            at += 1
    return size > 0


cdef int32_t c_read_ids(const char *path, int32_t *ids, int32_t room) noexcept nogil:
    """Read cgroup.procs or cgroup.threads; how many ids there are (also beyond `room`), or -errno. ids may be NULL."""
    cdef char[4096] buffer
    cdef int32_t count = 0
    cdef int64_t value = 0
    cdef bint digits = 0
    cdef ssize_t got, n
    cdef int descriptor = c_open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while True:
        got = read(descriptor, buffer, 4096)
        if got <= 0:
            break
        for n in range(got):
            if c'0' <= buffer[n] <= c'9':
                value = min(value * 10 + (buffer[n] - c'0'), MOST_ID + 1)
                digits = 1
            elif digits:
                # A member of another pid namespace shows as 0.
                if 0 < value <= MOST_ID:
                    if ids != NULL and count < room:
                        ids[count] = <int32_t>value
                    count += 1
                value = 0
                digits = 0
    if got < 0:
        count = -errno
    close(descriptor)
    return count


def parse_cpu_stat(bytes text not None):
    """Return the CPU total in ns of v2 cpu.stat. Raises ValueError when it is malformed."""
    cdef uint64_t cpu_ns
    if not c_parse_usage(text, <size_t>len(text), &cpu_ns):
        raise ValueError("not the text of cpu.stat")
    return cpu_ns


def parse_memory_stat(bytes text not None, int version):
    """Return bytes held according to memory.stat: v2 anon + shmem (swap is a file of its own), v1 with swap.

    Raises ValueError when it is malformed.
    """
    cdef uint64_t held
    cdef bint good
    if version == 2:
        good = c_parse_memory_v2(text, <size_t>len(text), &held)
    else:
        good = c_parse_memory_v1(text, <size_t>len(text), &held)
    if not good:
        raise ValueError("not the text of memory.stat")
    return held


def parse_cpu_max(bytes text not None):
    """Return the cores that v2 cpu.max allows, or None without a limit."""
    return c_parse_cpu_max(text, <size_t>len(text)) or None


def parse_io_stat(bytes text not None):
    """Return (read_bytes, write_bytes), summed over the devices of v2 io.stat."""
    cdef uint64_t read_bytes, write_bytes
    c_parse_io_stat(text, <size_t>len(text), &read_bytes, &write_bytes)
    return read_bytes, write_bytes


def read_ids(str path not None):
    """Return the ids in a cgroup.procs or cgroup.threads file. Raises OSError."""
    cdef int32_t[4096] ids
    cdef bytes encoded = os.fsencode(path)
    cdef int32_t count = c_read_ids(encoded, ids, 4096)
    if count < 0:
        raise_errno(-count, path)
    return [ids[n] for n in range(min(count, 4096))]
