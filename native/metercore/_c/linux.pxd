"""Declarations of the system calls that Cython's own posix rooms lack or declare without nogil."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int descriptor, void *buffer, size_t size, int64_t offset)
    ssize_t pwrite(int descriptor, const void *buffer, size_t size, int64_t offset)
    ssize_t read(int descriptor, void *buffer, size_t size)
    int close(int descriptor)
    int64_t lseek(int descriptor, int64_t offset, int whence)
    int getpid()
    long sysconf(int name)
    int ftruncate(int descriptor, int64_t size)
    int _SC_CLK_TCK
    int _SC_PAGESIZE
    int _SC_NPROCESSORS_ONLN


cdef extern from "<fcntl.h>" nogil:
    int c_open "open"(const char *path, int flags, ...)
    int posix_fallocate(int descriptor, int64_t offset, int64_t size)
    int O_RDONLY
    int O_RDWR
    int O_CREAT
    int O_TRUNC
    int O_CLOEXEC
    int O_DIRECTORY
    int O_NOFOLLOW
    int O_NONBLOCK
    int O_NOCTTY


cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct c_stat "struct stat":
        uint32_t st_mode
        int64_t st_size
    int fstat(int descriptor, c_stat *result)
    int stat_path "stat"(const char *path, c_stat *result)
    bint S_ISREG(uint32_t mode)


cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t size, int protection, int flags, int descriptor, int64_t offset)
    int munmap(void *address, size_t size)
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    void *MAP_FAILED


cdef extern from "<sys/syscall.h>" nogil:
    long syscall(long number, ...)
    long SYS_getdents64
    long SYS_openat2


cdef extern from "<linux/openat2.h>" nogil:
    struct open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve
    uint64_t RESOLVE_BENEATH
    uint64_t RESOLVE_NO_MAGICLINKS
    uint64_t RESOLVE_NO_SYMLINKS


cdef extern from "<sched.h>" nogil:
    ctypedef struct cpu_set_t:
        pass
    int sched_getaffinity(int pid, size_t size, cpu_set_t *mask)
    int CPU_COUNT(cpu_set_t *mask)
    int CPU_COUNT_S(size_t size, cpu_set_t *mask)
    int sched_yield()


cdef extern from "<sys/resource.h>" nogil:
    struct rlimit:
        uint64_t rlim_cur
        uint64_t rlim_max
    int getrlimit(int resource, rlimit *result)
    int RLIMIT_NOFILE


cdef extern from *:
    """
    /* The kernel's record of getdents64(2); glibc declares it only for its own readdir. */
    struct tm_dirent64 {
        unsigned long long d_ino;
        long long d_off;
        unsigned short d_reclen;
        unsigned char d_type;
        char d_name[];
    };
    """
    struct tm_dirent64:
        uint64_t d_ino
        int64_t d_off
        uint16_t d_reclen
        uint8_t d_type
        char d_name[1]
