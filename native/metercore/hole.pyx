# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Gives the disk space of a part of a file back; its size and all offsets stay."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t

from metercore.errors cimport raise_errno

cdef extern from *:
    """
    #include <fcntl.h>
    """
    int fallocate(int, int, int64_t, int64_t) nogil
    const int FALLOC_FL_PUNCH_HOLE
    const int FALLOC_FL_KEEP_SIZE


def punch_hole(int descriptor, int64_t offset, int64_t length):
    cdef int error = 0
    with nogil:
        while fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0:
            error = errno
            if error != EINTR:
                break
            error = 0
    if error != 0:
        raise_errno(error, None)
