# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The kernel's clocks in integer nanoseconds."""

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID, clock_gettime, clockid_t, timespec


cdef extern from "<time.h>" nogil:
    clockid_t CLOCK_BOOTTIME


cdef uint64_t c_monotonic_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


cdef uint64_t c_boottime_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_BOOTTIME, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


cdef int64_t c_realtime_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <int64_t>t.tv_sec * 1000000000 + <int64_t>t.tv_nsec


cdef uint64_t c_thread_cpu_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


def monotonic_ns():
    """Read CLOCK_MONOTONIC, which stands still while the machine is suspended."""
    return c_monotonic_ns()


def boottime_ns():
    """Read CLOCK_BOOTTIME, which goes on while the machine is suspended; process start times count on it."""
    return c_boottime_ns()


def realtime_ns():
    """Read CLOCK_REALTIME: nanoseconds since 1970, set by people and time servers."""
    return c_realtime_ns()


def thread_cpu_ns():
    """Read how much CPU the calling thread has used."""
    return c_thread_cpu_ns()
