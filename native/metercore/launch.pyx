# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One native thread that makes attempt directories and cgroups and spawns shims; it never takes the GIL.

The loop's thread appends requests to a queue and wakes the worker; the worker appends results to another and writes an eventfd
that the loop watches. A Python thread would have to win the GIL twice per launch, beside a busy loop up to a switch interval
each time. Shims are spawned with vfork semantics (posix_spawn), so the daemon's size does not matter.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strrchr

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
    read,
    syscall,
)
from metercore._c.spawn cimport (
    AT_SYMLINK_NOFOLLOW,
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    MFD_CLOEXEC,
    O_TRUNC,
    O_WRONLY,
    POSIX_SPAWN_SETSIGDEF,
    POSIX_SPAWN_SETSIGMASK,
    SIG_SETMASK,
    SYS_pidfd_open,
    TM_LAUNCH_FD,
    TM_MAX_CGROUPS_V1,
    TM_PAGE,
    TM_REPORT_BYTES,
    eventfd,
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
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_t,
    pthread_cond_wait,
    pthread_create,
    pthread_join,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
    pthread_sigmask,
    pthread_t,
    rmdir,
    sigfillset,
    sigset_t,
    symlinkat,
    tm_launch,
    write,
)

from metercore.errors cimport raise_errno

cdef enum:
    c_PREPARE = 1
    c_LAUNCH = 2
    c_REMOVE_CGROUPS = 3

cdef enum:
    c_STEP_NONE = 0
    c_STEP_DIRECTORY = 1
    c_STEP_SPEC = 2
    c_STEP_RECORDS = 3
    c_STEP_INPUT = 4
    c_STEP_BLOCK = 5
    c_STEP_SPAWN = 6
    c_STEP_CGROUP = 7

PREPARE = c_PREPARE
LAUNCH = c_LAUNCH
REMOVE_CGROUPS = c_REMOVE_CGROUPS
STEPS = ("", "attempt directory", "spec", "records", "stdin", "launch block", "spawn", "cgroup")

cdef struct Request:
    Request *next
    uint64_t id
    int kind
    char *memory        # owns every string and payload below
    char *directory     # the attempt directory
    char *payload       # spec, or the launch block
    size_t payload_bytes
    char *stdin_data
    size_t stdin_bytes
    bint has_stdin
    bint shared_work    # task/work links to the directory beside the attempts
    char *cgroup_v2
    char *cgroup_v1[4]  # TM_MAX_CGROUPS_V1
    int cgroup_v1_count
    uint32_t directory_mode
    bint has_ids
    uint32_t uid
    uint32_t gid
    int error           # errno, 0 = done
    int step
    int pid
    int pidfd

cdef struct State:
    pthread_t thread
    pthread_mutex_t mutex   # guards the members down to `stopping`; held for a few instructions only
    pthread_cond_t wake
    Request *first
    Request *last
    Request *done_first
    Request *done_last
    bint stopping
    int event               # eventfd: results are there
    int null                # /dev/null
    char *shim_path


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


cdef int c_spawn(State *state, Request *request, int block) noexcept nogil:
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
    posix_spawn_file_actions_adddup2(&actions, state.null, 0)
    posix_spawn_file_actions_adddup2(&actions, state.null, 1)
    posix_spawn_file_actions_adddup2(&actions, state.null, 2)
    posix_spawn_file_actions_adddup2(&actions, block, TM_LAUNCH_FD)
    error = posix_spawn(&request.pid, state.shim_path, &actions, &attributes, arguments, environment)
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
    return error


cdef int c_launch(State *state, Request *request) noexcept nogil:
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
    error = c_spawn(state, request, block)
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


cdef void *c_run(void *argument) noexcept nogil:
    """The worker: takes requests in order until told to stop and the queue is empty."""
    cdef State *state = <State *>argument
    cdef Request *request
    cdef uint64_t one = 1
    while True:
        pthread_mutex_lock(&state.mutex)
        while state.first == NULL and not state.stopping:
            pthread_cond_wait(&state.wake, &state.mutex)
        request = state.first
        if request == NULL:
            pthread_mutex_unlock(&state.mutex)
            return NULL
        state.first = request.next
        if state.first == NULL:
            state.last = NULL
        pthread_mutex_unlock(&state.mutex)

        request.next = NULL
        if request.kind == c_PREPARE:
            c_prepare(request)
        elif request.kind == c_LAUNCH:
            c_launch(state, request)
        else:
            c_remove_cgroups(request)

        pthread_mutex_lock(&state.mutex)
        if state.done_last == NULL:
            state.done_first = request
        else:
            state.done_last.next = request
        state.done_last = request
        pthread_mutex_unlock(&state.mutex)
        write(state.event, &one, sizeof(one))


cdef char *c_place(char **cursor, bytes text) noexcept:
    """Copy `text` and a NUL to the cursor, move it on; return where it lies."""
    cdef char *place = cursor[0]
    cdef size_t size = <size_t>PyBytes_GET_SIZE(text)
    memcpy(place, PyBytes_AS_STRING(text), size)
    place[size] = 0
    cursor[0] = place + size + 1
    return place


cdef void c_release(Request *request) noexcept nogil:
    free(request.memory)
    free(request)


cdef class Launcher:
    cdef State *state
    cdef bint open

    def __cinit__(self):
        self.state = NULL
        self.open = False

    def __init__(self, bytes shim_path not None):
        cdef sigset_t every, before
        cdef int error
        self.state = <State *>calloc(1, sizeof(State))
        if self.state == NULL:
            raise MemoryError
        self.state.event = -1
        self.state.null = -1
        self.state.shim_path = <char *>calloc(1, len(shim_path) + 1)
        if self.state.shim_path == NULL:
            raise MemoryError
        memcpy(self.state.shim_path, PyBytes_AS_STRING(shim_path), len(shim_path))
        self.state.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.state.null = c_open("/dev/null", O_RDWR | O_CLOEXEC)
        if self.state.event < 0 or self.state.null < 0:
            raise_errno(errno, "/dev/null")
        pthread_mutex_init(&self.state.mutex, NULL)
        pthread_cond_init(&self.state.wake, NULL)
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)  # signals are for Python's threads
        error = pthread_create(&self.state.thread, NULL, c_run, self.state)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if error != 0:
            raise_errno(error, None)
        self.open = True

    def __dealloc__(self):
        self._stop()
        if self.state != NULL:
            if self.state.event >= 0:
                close(self.state.event)
            if self.state.null >= 0:
                close(self.state.null)
            free(self.state.shim_path)
            free(self.state)

    cdef void _stop(self) noexcept:
        cdef Request *request
        if not self.open:
            return
        self.open = False
        with nogil:
            pthread_mutex_lock(&self.state.mutex)
            self.state.stopping = True
            pthread_cond_signal(&self.state.wake)
            pthread_mutex_unlock(&self.state.mutex)
            pthread_join(self.state.thread, NULL)
        pthread_cond_destroy(&self.state.wake)
        pthread_mutex_destroy(&self.state.mutex)
        while self.state.done_first != NULL:
            request = self.state.done_first
            self.state.done_first = request.next
            if request.pidfd >= 0:
                close(request.pidfd)
            c_release(request)

    cdef int _enqueue(self, Request *request) except -1:
        if not self.open:
            c_release(request)
            raise ValueError("the launcher is closed")
        pthread_mutex_lock(&self.state.mutex)
        if self.state.last == NULL:
            self.state.first = request
        else:
            self.state.last.next = request
        self.state.last = request
        pthread_cond_signal(&self.state.wake)
        pthread_mutex_unlock(&self.state.mutex)
        return 0

    cdef Request *_new(self, uint64_t request_id, int kind, size_t size) except NULL:
        cdef Request *request = <Request *>calloc(1, sizeof(Request))
        if request == NULL:
            raise MemoryError
        request.memory = <char *>calloc(1, size)
        if request.memory == NULL:
            free(request)
            raise MemoryError
        request.id = request_id
        request.kind = kind
        request.pidfd = -1
        request.directory_mode = 0o700
        return request

    def fileno(self):
        return self.state.event

    def prepare(self, uint64_t request_id, bytes directory not None, bytes spec not None, bint traversable):
        cdef Request *request = self._new(request_id, c_PREPARE, <size_t>(len(directory) + len(spec) + 2))
        cdef char *cursor = request.memory
        request.payload = c_place(&cursor, spec)
        request.payload_bytes = <size_t>len(spec)
        request.directory = c_place(&cursor, directory)
        if traversable:
            request.directory_mode = 0o711
        self._enqueue(request)

    def launch(
        self,
        uint64_t request_id,
        bytes directory not None,
        bytes block not None,
        bytes cgroup_v2 not None,
        tuple cgroup_v1 not None,
        bytes stdin_data,
        bint shared_work,
        ids,
    ):
        cdef size_t size = <size_t>(len(directory) + len(block) + len(cgroup_v2) + 8)
        cdef Request *request
        cdef char *cursor
        cdef bytes each
        cdef uint32_t uid = 0, gid = 0
        if ids is not None:
            uid, gid = ids
        if len(cgroup_v1) > TM_MAX_CGROUPS_V1:
            raise ValueError("too many cgroups")
        if <size_t>len(block) < sizeof(tm_launch):
            raise ValueError("the launch block is too short")
        for each in cgroup_v1:
            size += <size_t>len(each) + 1
        if stdin_data is not None:
            size += <size_t>len(stdin_data) + 1
        request = self._new(request_id, c_LAUNCH, size)
        cursor = request.memory  # the block comes first: calloc's alignment is the struct's
        request.payload = c_place(&cursor, block)
        request.payload_bytes = <size_t>len(block)
        request.directory = c_place(&cursor, directory)
        if cgroup_v2:
            request.cgroup_v2 = c_place(&cursor, cgroup_v2)
        for each in cgroup_v1:
            request.cgroup_v1[request.cgroup_v1_count] = c_place(&cursor, each)
            request.cgroup_v1_count += 1
        if stdin_data is not None:
            request.has_stdin = True
            request.stdin_bytes = <size_t>len(stdin_data)
            request.stdin_data = c_place(&cursor, stdin_data)
        request.shared_work = shared_work
        if ids is not None:
            request.has_ids = True
            request.uid = uid
            request.gid = gid
        self._enqueue(request)

    def remove_cgroups(self, uint64_t request_id, bytes cgroup_v2 not None, tuple cgroup_v1 not None):
        cdef size_t size = <size_t>len(cgroup_v2) + 1
        cdef Request *request
        cdef char *cursor
        cdef bytes each
        if len(cgroup_v1) > TM_MAX_CGROUPS_V1:
            raise ValueError("too many cgroups")
        for each in cgroup_v1:
            size += <size_t>len(each) + 1
        request = self._new(request_id, c_REMOVE_CGROUPS, size)
        cursor = request.memory
        if cgroup_v2:
            request.cgroup_v2 = c_place(&cursor, cgroup_v2)
        for each in cgroup_v1:
            request.cgroup_v1[request.cgroup_v1_count] = c_place(&cursor, each)
            request.cgroup_v1_count += 1
        self._enqueue(request)

    def results(self):
        cdef uint64_t counter
        cdef Request *request
        cdef Request *following
        cdef list found = []
        if not self.open:
            return found
        read(self.state.event, &counter, sizeof(counter))
        pthread_mutex_lock(&self.state.mutex)
        request = self.state.done_first
        self.state.done_first = NULL
        self.state.done_last = NULL
        pthread_mutex_unlock(&self.state.mutex)
        while request != NULL:
            found.append((request.id, request.kind, request.error, request.step, request.pid, request.pidfd))
            following = request.next
            c_release(request)
            request = following
        return found

    def close(self):
        self._stop()
