# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One native thread that makes attempt directories and cgroups and spawns shims; it never takes the GIL.

The loop's thread appends requests to a queue and wakes the worker; the worker appends results to another and writes an eventfd
that the loop watches. A Python thread would have to win the GIL twice per launch, beside a busy loop up to a switch interval
each time. Shims are spawned with vfork semantics (posix_spawn), so the daemon's size does not matter.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_RDWR,
    c_open,
    close,
    read,
)
from metercore._c.spawn cimport (
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    SIG_SETMASK,
    TM_MAX_CGROUPS_V1,
    eventfd,
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
    sigfillset,
    sigset_t,
    tm_launch,
    write,
)
from metercore.request cimport (
    Request,
    c_LAUNCH,
    c_perform,
    c_PREPARE,
    c_release,
    c_REMOVE_CGROUPS,
)

from metercore.errors cimport raise_errno

PREPARE = c_PREPARE
LAUNCH = c_LAUNCH
REMOVE_CGROUPS = c_REMOVE_CGROUPS
STEPS = ("", "attempt directory", "spec", "records", "stdin", "launch block", "spawn", "cgroup")

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
        c_perform(request, state.shim_path, state.null)

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
        if self.state == NULL:
            raise ValueError("the launcher was never started")
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
