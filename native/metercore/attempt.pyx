# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reads an attempt directory in one native call, in the only order that is safe against a shim that is at work.

claim → lock → records: were `exit` read first, a shim could write it and die before `lock` is looked at, and the attempt
would look lost. And of the records the one that is written last is read first, gone → exit → pid: what it implies is then there.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport ENOENT, errno
from libc.stdint cimport uint32_t

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_RDONLY,
    c_open,
    close,
    pread,
    syscall,
)
from metercore._c.spawn cimport (
    F_GETLK,
    F_UNLCK,
    F_WRLCK,
    SYS_pidfd_open,
    TM_GONE_SLOT_BYTES,
    c_flock,
    fcntl,
    openat,
    tm_claim,
    tm_exit,
    tm_gone,
    tm_pid,
)

from metercore.errors cimport raise_errno

cdef enum:
    c_GONE_BYTES = TM_GONE_SLOT_BYTES + sizeof(tm_gone)

cdef struct Record:
    ssize_t size  # -1: no such file
    char data[c_GONE_BYTES]


cdef int c_lock_owner(int directory) noexcept nogil:
    """The pid that holds `lock`; 0 = nobody. We never lock it ourselves: closing it would drop our own lock."""
    cdef c_flock whole
    cdef int descriptor = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    cdef int owner = 0
    if descriptor < 0:
        return 0
    whole.l_type = F_WRLCK
    whole.l_whence = 0
    whole.l_start = 0
    whole.l_len = 0
    whole.l_pid = 0
    if fcntl(descriptor, F_GETLK, &whole) == 0 and whole.l_type != F_UNLCK:
        owner = whole.l_pid
    close(descriptor)
    return owner


cdef void c_read_record(int directory, const char *name, Record *record, size_t size) noexcept nogil:
    cdef int descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    record.size = -1
    if descriptor < 0:
        return
    record.size = pread(descriptor, record.data, size, 0)
    if record.size < 0:
        record.size = 0
    close(descriptor)


cdef object as_bytes(Record *record):
    return None if record.size < 0 else PyBytes_FromStringAndSize(record.data, record.size)


def read_records(bytes directory not None):
    cdef Record claim, exited, started, gone
    cdef const char *path = directory
    cdef int descriptor, owner = 0, error = 0
    with nogil:
        descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor < 0:
            error = errno
        else:
            c_read_record(descriptor, "claim", &claim, sizeof(tm_claim))
            owner = c_lock_owner(descriptor)
            c_read_record(descriptor, "gone", &gone, c_GONE_BYTES)
            c_read_record(descriptor, "exit", &exited, sizeof(tm_exit))
            c_read_record(descriptor, "pid", &started, sizeof(tm_pid))
            close(descriptor)
    if error == ENOENT:
        return None
    if error != 0:
        raise_errno(error, directory)
    return as_bytes(&claim), owner, as_bytes(&exited), as_bytes(&started), as_bytes(&gone)


def open_owner(bytes directory not None):
    cdef const char *path = directory
    cdef int descriptor, owner, pidfd = -1
    with nogil:
        descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        owner = c_lock_owner(descriptor) if descriptor >= 0 else 0
        if owner > 0:
            pidfd = <int>syscall(SYS_pidfd_open, owner, <uint32_t>0)
            if pidfd >= 0 and c_lock_owner(descriptor) != owner:
                close(pidfd)
                pidfd = -1
        if descriptor >= 0:
            close(descriptor)
    if pidfd < 0:
        return 0, -1
    return owner, pidfd
