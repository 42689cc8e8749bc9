# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the launcher's thread does for one request: directories, records, cgroups, the spawn. No Python object is touched here."""

from libc.errno cimport EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport strrchr

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_RDONLY,
    O_RDWR,
    c_open,
    close,
    posix_fallocate,
    syscall,
)
from metercore._c.spawn cimport (
    AT_SYMLINK_NOFOLLOW,
    MFD_CLOEXEC,
    O_TRUNC,
    O_WRONLY,
    POSIX_SPAWN_SETSIGDEF,
    POSIX_SPAWN_SETSIGMASK,
    SYS_pidfd_open,
    TM_LAUNCH_FD,
    TM_PAGE,
    TM_REPORT_BYTES,
    fchown,
    fchownat,
    memfd_create,
    mkdir,
    mkdirat,
    openat,
    posix_spawn,
    posix_spawn_file_actions_adddup2,
    posix_spawn_file_actions_destroy,
    posix_spawn_file_actions_init,
    posix_spawn_file_actions_t,
    posix_spawnattr_destroy,
    posix_spawnattr_init,
    posix_spawnattr_setflags,
    posix_spawnattr_setsigdefault,
    posix_spawnattr_setsigmask,
    posix_spawnattr_t,
    rmdir,
    sigfillset,
    sigset_t,
    symlinkat,
    tm_launch,
    write,
)


cdef int c_fail(Request *request, int step, int error) noexcept nogil:
    request.step = step
    request.error = error
    return -1


cdef int c_make_path(char *path, uint32_t mode) noexcept nogil:
    """Make a directory and, where missing, the ones above it; 0 or errno. EEXIST is no error."""
    cdef char *slash
    cdef int error
    if mkdir(path, mode) == 0 or errno == EEXIST:
        return 0
    if errno != ENOENT:
        return errno
    slash = strrchr(path, c'/')
    if slash == NULL or slash == path:
        return ENOENT
    slash[0] = 0
    error = c_make_path(path, mode)
    slash[0] = c'/'
    if error != 0:
        return error
    return 0 if mkdir(path, mode) == 0 or errno == EEXIST else errno


cdef int c_write_all(int descriptor, const char *data, size_t size) noexcept nogil:
    """Write everything; 0 or errno."""
    cdef ssize_t put
    while size > 0:
        put = write(descriptor, data, size)
        if put < 0:
            if errno == EINTR:
                continue
            return errno
        data += put
        size -= <size_t>put
    return 0


cdef int c_write_file(int directory, const char *name, const char *data, size_t size) noexcept nogil:
    """Replace a file's content; 0 or errno."""
    cdef int descriptor = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, <uint32_t>0o600)
    cdef int error
    if descriptor < 0:
        return errno
    error = c_write_all(descriptor, data, size)
    if close(descriptor) != 0 and error == 0:
        error = errno  # a network or quota file system may say ENOSPC or EDQUOT only now
    return error


cdef int c_preallocate(int directory, const char *name, int64_t size, Request *owner) noexcept nogil:
    """Make a file whose blocks exist, so that writing in place cannot fail on a full disk; content that is there stays."""
    cdef int descriptor = openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, <uint32_t>0o600)
    cdef int error
    if descriptor < 0:
        return errno
    error = posix_fallocate(descriptor, 0, size)
    if error == 0 and owner != NULL and owner.has_ids and fchown(descriptor, owner.uid, owner.gid) != 0:
        error = errno
    close(descriptor)
    return error


cdef int c_prepare(Request *request) noexcept nogil:
    """Make the attempt directory and write the spec into it."""
    cdef int error = c_make_path(request.directory, request.directory_mode)
    cdef int directory
    if error != 0:
        return c_fail(request, c_STEP_DIRECTORY, error)
    directory = c_open(request.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory < 0:
        return c_fail(request, c_STEP_DIRECTORY, errno)
    error = c_write_file(directory, "spec", request.payload, request.payload_bytes)
    close(directory)
    return 0 if error == 0 else c_fail(request, c_STEP_SPEC, error)


cdef int c_make_task_directory(int directory, Request *request) noexcept nogil:
    """Make task/ and task/work, the task's own part, and its report page; 0 or errno."""
    cdef int task, error = 0
    cdef uint32_t mode = 0o700
    if mkdirat(directory, "task", mode) != 0 and errno != EEXIST:
        return errno
    task = openat(directory, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
    if task < 0:
        return errno
    if request.shared_work:
        # A second attempt finds it made. The link is relative: a state directory may be moved while no task runs.
        if mkdirat(directory, "../work", mode) != 0 and errno != EEXIST:
            error = errno
        elif request.has_ids and fchownat(directory, "../work", request.uid, request.gid, AT_SYMLINK_NOFOLLOW) != 0:
            error = errno
        elif symlinkat("../../work", task, "work") != 0 and errno != EEXIST:
            error = errno
    elif mkdirat(task, "work", mode) != 0 and errno != EEXIST:
        error = errno
    if error == 0 and request.has_ids and (
        fchown(task, request.uid, request.gid) != 0
        or fchownat(task, "work", request.uid, request.gid, AT_SYMLINK_NOFOLLOW) != 0
    ):
        error = errno
    if error == 0:
        error = c_preallocate(task, "report", TM_REPORT_BYTES, request)
    close(task)
    return error


cdef int c_make_records(int directory) noexcept nogil:
    """Preallocate what is written while the task runs; 0 or errno."""
    cdef int error = c_preallocate(directory, "ctl", TM_PAGE, NULL)
    if error == 0:
        error = c_preallocate(directory, "pid", TM_PAGE, NULL)
    if error == 0:
        error = c_preallocate(directory, "exit", TM_PAGE, NULL)
    if error == 0:
        error = c_preallocate(directory, "gone", TM_PAGE, NULL)
    if error == 0:
        error = c_preallocate(directory, "meter", TM_PAGE, NULL)
    return error


cdef int c_make_cgroup(const char *path) noexcept nogil:
    return 0 if mkdir(path, 0o755) == 0 or errno == EEXIST else errno


cdef void c_make_cgroups(Request *request) noexcept nogil:
    """Make the task's cgroups; one that cannot be made is taken out of the block, and the task runs without it."""
    cdef tm_launch *block = <tm_launch *>request.payload
    cdef int i
    if request.cgroup_v2 != NULL and c_make_cgroup(request.cgroup_v2) != 0:
        block.cgroup_v2_offset = 0
        request.step = c_STEP_CGROUP
    for i in range(request.cgroup_v1_count):
        if c_make_cgroup(request.cgroup_v1[i]) != 0:
            # The list is contiguous strings, so one missing takes all: today there is one, memory.
            block.cgroup_v1_count = 0
            request.step = c_STEP_CGROUP
            return


cdef int c_spawn(Request *request, const char *shim_path, int null, int block) noexcept nogil:
    """Spawn the shim with every signal blocked: an order may be sent before its first instruction. 0 or errno."""
    cdef posix_spawn_file_actions_t actions
    cdef posix_spawnattr_t attributes
    cdef sigset_t every
    cdef char *arguments[3]
    cdef char *environment[1]
    cdef int error
    arguments[0] = "taskmeter-shim"
    arguments[1] = request.directory
    arguments[2] = NULL
    environment[0] = NULL
    sigfillset(&every)
    posix_spawnattr_init(&attributes)
    posix_spawnattr_setsigmask(&attributes, &every)
    posix_spawnattr_setsigdefault(&attributes, &every)
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, null, 0)
    posix_spawn_file_actions_adddup2(&actions, null, 1)
    posix_spawn_file_actions_adddup2(&actions, null, 2)
    posix_spawn_file_actions_adddup2(&actions, block, TM_LAUNCH_FD)
    error = posix_spawn(&request.pid, shim_path, &actions, &attributes, arguments, environment)
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
    return error


cdef int c_launch(Request *request, const char *shim_path, int null) noexcept nogil:
    """Make everything the shim needs and spawn it; fills pid and pidfd."""
    cdef int directory, block, error
    directory = c_open(request.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory < 0:
        return c_fail(request, c_STEP_DIRECTORY, errno)
    error = c_make_task_directory(directory, request)
    if error != 0:
        close(directory)
        return c_fail(request, c_STEP_DIRECTORY, error)
    error = c_make_records(directory)
    if error != 0:
        close(directory)
        return c_fail(request, c_STEP_RECORDS, error)
    if request.has_stdin:
        error = c_write_file(directory, "stdin", request.stdin_data, request.stdin_bytes)
        # It is handed on open; whoever opens /dev/stdin opens it once more, as the task's user.
        if error == 0 and request.has_ids and (
            fchownat(directory, "stdin", request.uid, request.gid, AT_SYMLINK_NOFOLLOW) != 0
        ):
            error = errno
    close(directory)
    if error != 0:
        return c_fail(request, c_STEP_INPUT, error)
    c_make_cgroups(request)
    block = memfd_create("taskmeter-launch", MFD_CLOEXEC)
    if block < 0:
        return c_fail(request, c_STEP_BLOCK, errno)
    error = c_write_all(block, request.payload, request.payload_bytes)
    if error != 0:
        close(block)
        return c_fail(request, c_STEP_BLOCK, error)
    error = c_spawn(request, shim_path, null, block)
    close(block)
    if error != 0:
        return c_fail(request, c_STEP_SPAWN, error)
    # We are the parent and only the loop's thread reaps, once it has this descriptor: the pid is still ours.
    request.pidfd = <int>syscall(SYS_pidfd_open, request.pid, 0)
    return 0


cdef int c_remove_cgroups(Request *request) noexcept nogil:
    """Remove the cgroups; EBUSY while something lives in one."""
    cdef int i
    if request.cgroup_v2 != NULL and rmdir(request.cgroup_v2) != 0 and errno != ENOENT:
        c_fail(request, c_STEP_CGROUP, errno)
    for i in range(request.cgroup_v1_count):
        if rmdir(request.cgroup_v1[i]) != 0 and errno != ENOENT:
            c_fail(request, c_STEP_CGROUP, errno)
    return 0


cdef void c_perform(Request *request, const char *shim_path, int null) noexcept nogil:
    """Do what a request asks for; the result stands in it. `null`: descriptor of /dev/null."""
    if request.kind == c_PREPARE:
        c_prepare(request)
    elif request.kind == c_LAUNCH:
        c_launch(request, shim_path, null)
    else:
        c_remove_cgroups(request)


cdef void c_release(Request *request) noexcept nogil:
    """Free a request and every string in it."""
    free(request.memory)
    free(request)
