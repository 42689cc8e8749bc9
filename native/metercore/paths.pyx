# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Open files below a directory whose contents belong to somebody else, and never anything outside it.

openat2(2), Linux 5.6: the kernel refuses a path that leaves the directory at any step, and symbolic links altogether. Checking
a path first and opening it then could be raced by the task that owns the files.
"""

from libc.errno cimport EAGAIN, EINTR, EISDIR, EINVAL, errno
from libc.string cimport memset

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDONLY,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    S_ISREG,
    SYS_openat2,
    c_open,
    c_stat,
    close,
    fstat,
    open_how,
    syscall,
)
from metercore.errors cimport raise_errno

import os

# A rename elsewhere during the walk makes RESOLVE_BENEATH fail with EAGAIN; that often in a row is an attack.
cdef int TRIES = 32


cdef int c_open_beneath(int directory, const char *path, int flags) noexcept nogil:
    """openat2 without links and without leaving `directory`; a descriptor or -errno."""
    cdef open_how how
    cdef long descriptor
    cdef int _try
    memset(&how, 0, sizeof(how))
    how.flags = <unsigned int>(flags | O_CLOEXEC | O_NOCTTY)
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
    for _try in range(TRIES):
        descriptor = syscall(SYS_openat2, directory, path, &how, sizeof(how))
        if descriptor >= 0:
            return <int>descriptor
        if errno != EAGAIN and errno != EINTR:
            break
    return -errno


def open_beneath(directory not None, path not None):
    """Open the regular file at the relative `path` below `directory` for reading; return the descriptor, which is yours.

    Raises OSError: EXDEV for a path that leads outside (also an absolute one), ELOOP for a symbolic link anywhere in it, EISDIR
    for a directory, EINVAL for a device, pipe or socket, and what open(2) says else. ValueError for a NUL byte or an empty path.
    """
    cdef bytes base = os.fsencode(directory)
    cdef bytes relative = os.fsencode(path)
    cdef c_stat facts
    cdef int parent, descriptor, error
    if not relative or b"\0" in relative or b"\0" in base:
        raise ValueError("a path is not empty and has no NUL byte")
    parent = c_open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if parent < 0:
        raise_errno(errno, directory)
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    descriptor = c_open_beneath(parent, relative, O_RDONLY | O_NONBLOCK)
    close(parent)
    if descriptor < 0:
        raise_errno(-descriptor, path)
    error = 0
    if fstat(descriptor, &facts) != 0:
        error = errno
    elif (facts.st_mode & 0o170000) == 0o040000:
        error = EISDIR
    elif not S_ISREG(facts.st_mode):
        error = EINVAL
    if error != 0:
        close(descriptor)
        raise_errno(error, path)
    return descriptor
