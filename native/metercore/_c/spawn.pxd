"""Declarations for the launcher: threads, spawning, files, record locks, and the layout of the shim's launch block."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_create(pthread_t *thread, const void *attributes, void *(*run)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)


cdef extern from "<signal.h>" nogil:
    int SIGRTMIN
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t *signals)
    int pthread_sigmask(int how, const sigset_t *signals, sigset_t *before)
    int SIG_SETMASK


cdef extern from "<spawn.h>" nogil:
    ctypedef struct posix_spawnattr_t:
        pass
    ctypedef struct posix_spawn_file_actions_t:
        pass
    int posix_spawnattr_init(posix_spawnattr_t *attributes)
    int posix_spawnattr_destroy(posix_spawnattr_t *attributes)
    int posix_spawnattr_setflags(posix_spawnattr_t *attributes, short flags)
    int posix_spawnattr_setsigmask(posix_spawnattr_t *attributes, const sigset_t *signals)
    int posix_spawnattr_setsigdefault(posix_spawnattr_t *attributes, const sigset_t *signals)
    int posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions)
    int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions)
    int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int descriptor, int target)
    int posix_spawn(
        int *pid,
        const char *path,
        const posix_spawn_file_actions_t *actions,
        const posix_spawnattr_t *attributes,
        char *const *arguments,
        char *const *environment,
    )
    short POSIX_SPAWN_SETSIGMASK
    short POSIX_SPAWN_SETSIGDEF


cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    int EFD_CLOEXEC
    int EFD_NONBLOCK


cdef extern from "<sys/mman.h>" nogil:
    int memfd_create(const char *name, unsigned int flags)
    unsigned int MFD_CLOEXEC


cdef extern from "<sys/stat.h>" nogil:
    int mkdir(const char *path, uint32_t mode)
    int mkdirat(int directory, const char *path, uint32_t mode)


cdef extern from "<unistd.h>" nogil:
    ssize_t write(int descriptor, const void *data, size_t size)
    int rmdir(const char *path)
    int unlinkat(int directory, const char *path, int flags)
    int symlinkat(const char *target, int directory, const char *path)
    int fchown(int descriptor, uint32_t uid, uint32_t gid)
    int fchownat(int directory, const char *path, uint32_t uid, uint32_t gid, int flags)


cdef extern from "<fcntl.h>" nogil:
    ctypedef struct c_flock "struct flock":
        short l_type
        short l_whence
        int64_t l_start
        int64_t l_len
        int32_t l_pid
    int openat(int directory, const char *path, int flags, ...)
    int fcntl(int descriptor, int command, ...)
    int O_WRONLY
    int O_TRUNC
    int AT_SYMLINK_NOFOLLOW
    int F_GETLK
    short F_WRLCK
    short F_UNLCK


cdef extern from "<sys/syscall.h>" nogil:
    long SYS_pidfd_open
    long SYS_pidfd_send_signal


cdef extern from "taskdir.h" nogil:
    enum: TM_LAUNCH_FD
    enum: TM_MAX_CGROUPS_V1
    enum: TM_PAGE
    struct tm_claim:
        pass
    struct tm_pid:
        pass
    struct tm_exit:
        pass
    struct tm_gone:
        pass
    enum: TM_GONE_SLOT_BYTES
    struct tm_launch:
        uint32_t total_bytes
        uint32_t cgroup_v2_offset
        uint32_t cgroup_v1_count
        uint32_t cgroup_v1_offset


cdef extern from "report.h" nogil:
    enum: TM_REPORT_BYTES
