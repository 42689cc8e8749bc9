"""Declarations of what the item log does with files and mappings, and with nothing else."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<sys/stat.h>" nogil:
    struct timespec_of_file "timespec":
        int64_t tv_sec
        int64_t tv_nsec
    ctypedef struct c_facts "struct stat":
        uint64_t st_dev
        uint64_t st_ino
        uint32_t st_mode
        int64_t st_size
        timespec_of_file st_ctim
    int facts_of "fstat"(int descriptor, c_facts *result)
    int facts_at "stat"(const char *path, c_facts *result)
    int mkdir(const char *path, uint32_t mode)


cdef extern from "<unistd.h>" nogil:
    int access(const char *path, int mode)
    int unlink(const char *path)
    int unlinkat(int directory, const char *path, int flags)
    int F_OK


cdef extern from "<fcntl.h>" nogil:
    int O_EXCL
    int O_WRONLY


cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *address, size_t size, int advice)
    int MADV_WIPEONFORK


cdef extern from "<sys/resource.h>" nogil:
    int RLIMIT_FSIZE
