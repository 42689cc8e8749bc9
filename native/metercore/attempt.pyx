# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reads an attempt directory in one native call, in the only order that is safe against a shim that is at work.

claim → lock → records: were `exit` read first, a shim could write it and die before `lock` is looked at, and the attempt
would look lost. And of the records the one that is written last is read first, gone → exit → pid: what it implies is then there.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EIO, ENOENT, ESRCH, errno
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
    SIGRTMIN,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
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


cdef int c_lock_owner(int directory, int *owner) noexcept nogil:
    """Find the pid that holds `lock`, 0 = nobody; returns 0 or errno. We never lock it: closing it would drop our own lock."""
    cdef c_flock whole
    cdef int descriptor = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    cdef int error = 0
    owner[0] = 0
    if descriptor < 0:
        return 0 if errno == ENOENT else errno
    whole.l_type = F_WRLCK
    whole.l_whence = 0
    whole.l_start = 0
    whole.l_len = 0
    whole.l_pid = 0
    if fcntl(descriptor, F_GETLK, &whole) != 0:
        error = errno
    elif whole.l_type != F_UNLCK:
        owner[0] = whole.l_pid
    close(descriptor)
    return error


cdef int c_read_record(int directory, const char *name, Record *record, size_t size) noexcept nogil:
    """Read a record from its start; returns 0 or errno. That a file is not there is no error."""
    cdef int descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    cdef int error = 0
    record.size = -1
    if descriptor < 0:
        return 0 if errno == ENOENT else errno
    record.size = pread(descriptor, record.data, size, 0)
    if record.size < 0:
        error = errno
    close(descriptor)
    return error


cdef bint c_hooked = False  # read without the GIL: without a hook it is all that one costs
cdef object hook = None


def on_read(between not None):
    global c_hooked, hook
    hook = between
    c_hooked = True


cdef int c_was_read(const char *name) noexcept nogil:
    """Tell the hook, if there is one; returns 0, or EIO if it raises."""
    if not c_hooked:
        return 0
    with gil:
        try:
            hook((<bytes>name).decode())
        except OSError:
            return EIO
    return 0


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
            error = c_read_record(descriptor, "claim", &claim, sizeof(tm_claim))
            if error == 0:
                error = c_was_read("claim")
            if error == 0:
                error = c_lock_owner(descriptor, &owner)
            if error == 0:
                error = c_was_read("lock")
            if error == 0:
                error = c_read_record(descriptor, "gone", &gone, c_GONE_BYTES)
            if error == 0:
                error = c_was_read("gone")
            if error == 0:
                error = c_read_record(descriptor, "exit", &exited, sizeof(tm_exit))
            if error == 0:
                error = c_was_read("exit")
            if error == 0:
                error = c_read_record(descriptor, "pid", &started, sizeof(tm_pid))
            if error == 0:
                error = c_was_read("pid")
            close(descriptor)
    if error == ENOENT:
        return None
    if error != 0:
        raise_errno(error, directory)
    return as_bytes(&claim), owner, as_bytes(&exited), as_bytes(&started), as_bytes(&gone)


def open_owner(bytes directory not None):
    cdef const char *path = directory
    cdef int descriptor, owner = 0, again = 0, pidfd = -1, error = 0
    with nogil:
        descriptor = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor < 0:
            error = errno
        else:
            error = c_lock_owner(descriptor, &owner)
            if error == 0 and owner > 0:
                pidfd = <int>syscall(SYS_pidfd_open, owner, <uint32_t>0)
                if pidfd < 0 and errno != ESRCH:
                    error = errno
            if pidfd >= 0:
                error = c_lock_owner(descriptor, &again)
                if error != 0 or again != owner:
                    close(pidfd)
                    pidfd = -1
            close(descriptor)
    if error != 0 and error != ENOENT:
        raise_errno(error, directory)
    if pidfd < 0:
        return 0, -1
    return owner, pidfd


def tell(int pidfd):
    cdef int error = 0
    # Without the GIL: the shim that is woken may take the core from us before the call returns.
    with nogil:
        if syscall(SYS_pidfd_send_signal, pidfd, SIGRTMIN, <void *>NULL, <uint32_t>0) != 0:
            error = errno
    if error != 0 and error != ESRCH:
        raise_errno(error, None)
