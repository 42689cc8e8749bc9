# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""GPUs and who uses them: a thread of its own asks the driver once a second, and readers get a copy of what it said last.

A call of the driver may hang for minutes, so it is made without any lock, and nobody but this thread waits for it. If the
monitor is closed meanwhile, the thread and the 30 kB it uses are left to each other until the call returns, for ever if it
never does: that is meant. Nothing it may still touch is freed by anybody else.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset
from posix.signal cimport sigset_t
from posix.time cimport CLOCK_MONOTONIC, timespec

from metercore._c.nvml cimport TM_NVML_SUCCESS
from metercore._c.pthread cimport (
    SIG_SETMASK,
    pthread_cond_broadcast,
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_t,
    pthread_cond_timedwait,
    pthread_condattr_destroy,
    pthread_condattr_init,
    pthread_condattr_setclock,
    pthread_condattr_t,
    pthread_create,
    pthread_detach,
    pthread_join,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
    pthread_setname_np,
    pthread_sigmask,
    pthread_t,
    sigfillset,
)
from metercore.clock cimport c_monotonic_ns, c_thread_cpu_ns
from metercore.errors cimport raise_errno
from metercore.gpulook cimport c_discover, c_Gpu, c_GpuProcess, c_look, c_look_free
from metercore.nspid cimport c_pids_nested, c_pids_open
from metercore.nvml cimport REASON_BYTES, c_nvml_begin, c_nvml_load, c_nvml_reason, c_nvml_unload

import os
from typing import NamedTuple

SLOWEST_HZ = 0.1
FASTEST_HZ = 20.0
DEFAULT_HZ = 1.0
LIBRARY = "libnvidia-ml.so.1"

cdef uint64_t SECOND = 1000000000u
cdef uint64_t ABSENT = 0xFFFFFFFFFFFFFFFFu
cdef uint64_t CLOSE_NS = 1000000000u     # a healthy call takes milliseconds
cdef uint64_t STALE_INTERVALS = 5        # values older than that, or a call longer than that, are none
cdef uint64_t MOST_PAUSE_INTERVALS = 30  # between two tries to connect

cdef tuple STATES = ("absent", "starting", "active", "failed", "hung", "closed")


class Gpu(NamedTuple):
    """One GPU of this machine, as its driver describes it."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    mig: bool
    lost: bool
    memory_measured: bool
    utilization_measured: bool


class GpuProcess(NamedTuple):
    """What one process used of one GPU in the last look."""

    pid: int
    gpu_index: int
    start_ticks: int
    memory_bytes: int | None
    utilization_percent: float | None


# ---------------------------------------------------------------------------------------------------------- the thread


cdef void c_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ns) noexcept nogil:
    cdef timespec until
    until.tv_sec = <long>(until_ns // SECOND)
    until.tv_nsec = <long>(until_ns % SECOND)
    pthread_cond_timedwait(condition, lock, &until)


cdef void c_enter(c_Monitor *m) noexcept nogil:
    """Before a call of the library: note since when, and hold no lock during it."""
    m.call_ns = c_monotonic_ns()
    pthread_mutex_unlock(&m.lock)


cdef void c_leave(c_Monitor *m) noexcept nogil:
    pthread_mutex_lock(&m.lock)
    m.call_ns = 0


cdef void c_disconnect(c_Monitor *m) noexcept nogil:
    """Let go of the driver and of its library, so that another version of it can take its place."""
    if m.connected:
        m.look.nvml.shutdown()
        m.connected = 0
    c_nvml_unload(&m.look.nvml)


cdef bint c_connect(c_Monitor *m, char *reason) noexcept nogil:
    """Load the library if need be and speak to the driver; false with a reason."""
    cdef int code
    if m.look.nvml.library == NULL and c_nvml_load(&m.look.nvml, m.path, reason) != 0:
        return 0
    code = c_nvml_begin(&m.look.nvml)
    if code != TM_NVML_SUCCESS:
        c_nvml_reason(&m.look.nvml, b"nvmlInit", code, reason)
        c_disconnect(m)
        return 0
    m.connected = 1
    code = c_discover(&m.look)
    if code != TM_NVML_SUCCESS:
        c_nvml_reason(&m.look.nvml, m.look.what, code, reason)
        c_disconnect(m)
        return 0
    return 1


cdef bint c_ask(c_Monitor *m, char *reason) noexcept nogil:
    """Connect if need be, and look; false with a reason. May take as long as the driver likes."""
    cdef int code
    if m.connected and m.retry_ns != 0 and c_monotonic_ns() >= m.retry_ns:
        c_disconnect(m)  # the driver finds a GPU again only for those who come anew
    if not m.connected and not c_connect(m, reason):
        return 0
    code = c_look(&m.look, m.interval_ns)
    if code == TM_NVML_SUCCESS:
        return 1
    if code == -ENOMEM:
        snprintf(reason, REASON_BYTES, b"no memory")
    else:
        c_nvml_reason(&m.look.nvml, m.look.what, code, reason)
    c_disconnect(m)
    return 0


cdef void c_publish(c_Monitor *m, uint64_t now_ns) noexcept nogil:
    """Hand the last look over to the readers; under lock."""
    cdef c_GpuProcess *uses = m.uses
    cdef uint32_t room = m.use_room
    m.uses = m.look.uses
    m.use_room = m.look.use_room
    m.use_count = m.look.use_count
    m.look.uses = uses
    m.look.use_room = room
    m.gpu_count = m.look.gpu_count
    memcpy(m.gpus, m.look.gpus, m.gpu_count * sizeof(c_Gpu))
    m.look_ns = now_ns
    m.sequence += 1


cdef uint64_t c_pause_ns(const c_Monitor *m) noexcept nogil:
    """How long to wait after so many failures in a row: 1, 2, 4 … 30 intervals."""
    cdef uint64_t intervals = MOST_PAUSE_INTERVALS
    if m.failures <= 5:
        intervals = <uint64_t>1 << (m.failures - 1)
    return m.interval_ns * intervals


cdef uint64_t c_turn(c_Monitor *m, uint64_t next_ns) noexcept nogil:
    """Look, or try to connect, once; returns when to do so again. Under lock, but for the calls."""
    cdef char[REASON_BYTES] reason
    cdef uint64_t before
    cdef uint64_t now_ns
    cdef bint good
    c_enter(m)
    before = c_thread_cpu_ns()
    good = c_ask(m, reason)
    before = c_thread_cpu_ns() - before
    now_ns = c_monotonic_ns()
    c_leave(m)
    m.turn += 1
    if good:
        c_publish(m, now_ns)
        m.busy_ns += before
        m.state = GPU_ACTIVE
        m.reason[0] = 0
        if m.look.lost_count == 0:
            m.retry_ns = m.failures = 0
        elif m.retry_ns == 0 or now_ns >= m.retry_ns:
            m.failures += 1
            m.retry_ns = now_ns + c_pause_ns(m)
        next_ns += m.interval_ns
        return next_ns if next_ns > now_ns else now_ns + m.interval_ns
    m.state = GPU_FAILED
    memcpy(m.reason, reason, REASON_BYTES)
    m.retry_ns = 0
    m.failures += 1
    return now_ns + c_pause_ns(m)


cdef void c_release(c_Monitor *m) noexcept nogil:
    """Let go of it; under lock, which is given back. Whoever is last frees it."""
    cdef bint last
    m.owners -= 1
    last = m.owners == 0
    pthread_mutex_unlock(&m.lock)
    if not last:
        return
    c_look_free(&m.look)
    free(m.uses)
    pthread_cond_destroy(&m.wake)
    pthread_cond_destroy(&m.told)
    pthread_mutex_destroy(&m.lock)
    free(m)


cdef void *c_watch(void *argument) noexcept nogil:
    """The thread: look at fixed times until it is told to stop; never touches Python."""
    cdef c_Monitor *m = <c_Monitor *>argument
    cdef uint64_t next_ns = c_monotonic_ns()
    pthread_mutex_lock(&m.lock)
    while not m.stopping:
        if c_monotonic_ns() < next_ns:
            c_wait(&m.wake, &m.lock, next_ns)
            continue
        next_ns = c_turn(m, next_ns)
        pthread_cond_broadcast(&m.told)
    c_enter(m)
    c_disconnect(m)
    c_leave(m)
    m.ended = 1
    pthread_cond_broadcast(&m.told)
    c_release(m)
    return NULL


# --------------------------------------------------------------------------------------------------------- the readers


cdef int c_state(const c_Monitor *m, uint64_t now_ns) noexcept nogil:
    """The state as a reader sees it; under lock."""
    cdef uint64_t limit_ns = STALE_INTERVALS * m.interval_ns
    if m.stopping:
        return GPU_CLOSED
    if m.call_ns != 0 and now_ns > m.call_ns + limit_ns:
        return GPU_HUNG
    return m.state


cdef int c_gpu_copy(c_Monitor *monitor, uint64_t now_ns, c_GpuTable *table) noexcept nogil:
    """Bring a reader's table, zeroed before its first use, up to date; 0 or -ENOMEM. `now_ns` is CLOCK_MONOTONIC.

    Copies nothing when there was no look since. Where nothing is measured the table is empty.
    """
    cdef void *more
    cdef uint32_t n
    cdef int error = 0
    pthread_mutex_lock(&monitor.lock)
    table.interval_ns = monitor.interval_ns
    table.gap_ns = STALE_INTERVALS * monitor.interval_ns
    table.state = c_state(monitor, now_ns)
    table.measured = table.state == GPU_ACTIVE and now_ns <= monitor.look_ns + STALE_INTERVALS * monitor.interval_ns
    if not table.measured:
        table.gpu_count = table.use_count = table.live_count = 0
        table.sequence = 0
    elif table.sequence != monitor.sequence:
        if table.use_room < monitor.use_count:
            more = realloc(table.uses, monitor.use_room * sizeof(c_GpuProcess))
            if more == NULL:
                error = -ENOMEM
            else:
                table.uses = <c_GpuProcess *>more
                table.use_room = monitor.use_room
        if error == 0:
            table.sequence = monitor.sequence
            table.look_ns = monitor.look_ns
            table.gpu_count = monitor.gpu_count
            table.use_count = monitor.use_count
            memcpy(table.gpus, monitor.gpus, monitor.gpu_count * sizeof(c_Gpu))
            table.live_count = 0
            for n in range(table.use_count):
                table.uses[n] = monitor.uses[n]
                table.live_count += table.uses[n].start_ticks != 0
    pthread_mutex_unlock(&monitor.lock)
    return error


cdef uint32_t c_gpu_find(const c_GpuTable *table, int32_t pid) noexcept nogil:
    """Where the uses of a process begin; `use_count` if it has none."""
    cdef uint32_t low = 0
    cdef uint32_t high = table.use_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if table.uses[middle].pid < pid:
            low = middle + 1
        else:
            high = middle
    return low if low < table.use_count and table.uses[low].pid == pid else table.use_count


cdef void c_gpu_table_free(c_GpuTable *table) noexcept nogil:
    free(table.uses)
    memset(table, 0, sizeof(c_GpuTable))


cdef object c_told(uint64_t value):
    return None if value == ABSENT else value


cdef class GpuMonitor:
    """Watch all NVIDIA GPUs until `close`; also a context manager.

    There is a thread only if the library loads. Nothing waits for the driver: when it hangs for five intervals, or fails,
    everything is absent until it answers again; then it is connected to anew, after one interval at first and up to 30 later.
    `proc` is for tests: a /proc by which reported pids are mapped as if from another pid namespace. Raises ValueError.
    """

    def __cinit__(self):
        cdef pthread_condattr_t attributes
        self.c = <c_Monitor *>calloc(1, sizeof(c_Monitor))
        if self.c == NULL:
            raise MemoryError
        self.c.owners = 1
        pthread_mutex_init(&self.c.lock, NULL)
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&self.c.wake, &attributes)
        pthread_cond_init(&self.c.told, &attributes)
        pthread_condattr_destroy(&attributes)

    def __init__(self, library=None, double hz=DEFAULT_HZ, *, proc=None):
        cdef bytes path = os.fsencode(library or os.environ.get("TASKMETER_NVML_LIBRARY") or LIBRARY)
        cdef bytes proc_path = os.fsencode(proc or "/proc")
        cdef bint nested = proc is not None or c_pids_nested()
        if not SLOWEST_HZ <= hz <= FASTEST_HZ:
            raise ValueError(f"GPUs are looked at {SLOWEST_HZ} to {FASTEST_HZ} times a second")
        if <size_t>len(path) >= sizeof(self.c.path):
            raise ValueError("the path of the NVML library is too long")
        if <size_t>len(proc_path) >= sizeof(self.c.look.pids.proc_path):
            raise ValueError("the path of /proc is too long")
        if self.running or self.c.stopping:
            raise RuntimeError("a monitor is initialised once")
        memcpy(self.c.path, <const char *>path, <size_t>len(path))
        self.c.interval_ns = <uint64_t>(1e9 / hz)
        c_pids_open(&self.c.look.pids, proc_path, nested)
        if c_nvml_load(&self.c.look.nvml, self.c.path, self.c.reason) == 0:
            self.start()

    cdef int start(self) except -1:
        cdef sigset_t wanted, old
        cdef int error
        self.c.state = GPU_STARTING
        self.c.owners = 2
        sigfillset(&wanted)
        pthread_sigmask(SIG_SETMASK, &wanted, &old)  # signals are the main thread's
        error = pthread_create(&self.c.thread, NULL, c_watch, self.c)
        pthread_sigmask(SIG_SETMASK, &old, NULL)
        if error != 0:
            self.c.owners = 1
            self.c.state = GPU_ABSENT
            c_nvml_unload(&self.c.look.nvml)
            raise_errno(error, None)
        pthread_setname_np(self.c.thread, b"tm-gpu")
        self.running = 1
        return 0

    def __dealloc__(self):
        if self.c == NULL:
            return
        self.stop()
        pthread_mutex_lock(&self.c.lock)
        c_release(self.c)
        self.c = NULL

    cdef void stop(self) noexcept:
        cdef bint ended
        cdef pthread_t thread
        cdef uint64_t until_ns
        if not self.running:
            return
        self.running = 0
        with nogil:
            pthread_mutex_lock(&self.c.lock)
            thread = self.c.thread
            # Whoever hung before is not waited for.
            until_ns = c_monotonic_ns() + (CLOSE_NS if c_state(self.c, c_monotonic_ns()) != GPU_HUNG else 0)
            self.c.stopping = 1
            pthread_cond_signal(&self.c.wake)
            while not self.c.ended and c_monotonic_ns() < until_ns:
                c_wait(&self.c.told, &self.c.lock, until_ns)
            ended = self.c.ended
            pthread_mutex_unlock(&self.c.lock)
            if ended:
                pthread_join(thread, NULL)
            else:
                pthread_detach(thread)

    def close(self):
        """Stop watching. A thread that hangs in the driver is left to end by itself: this waits for it a second at most."""
        self.stop()
        self.c.stopping = 1

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    @property
    def state(self):
        """Whether GPUs are measured now: only in "active" they are."""
        cdef int state
        pthread_mutex_lock(&self.c.lock)
        state = c_state(self.c, c_monotonic_ns())
        pthread_mutex_unlock(&self.c.lock)
        return STATES[state]

    @property
    def reason(self):
        """Why GPUs are not measured, in the words of the library where it gave any; None while they are."""
        cdef char[REASON_BYTES] reason
        cdef uint64_t now_ns = c_monotonic_ns()
        cdef uint64_t call_ns
        cdef uint32_t gpu_count
        cdef int state
        pthread_mutex_lock(&self.c.lock)
        state = c_state(self.c, now_ns)
        call_ns = self.c.call_ns
        gpu_count = self.c.gpu_count
        memcpy(reason, self.c.reason, REASON_BYTES)
        pthread_mutex_unlock(&self.c.lock)
        if state == GPU_ACTIVE:
            return None if gpu_count else "the driver knows of no GPU"
        if state == GPU_HUNG:
            return f"the driver does not answer, for {(now_ns - call_ns) / 1e9:.0f} s now"
        if state == GPU_STARTING:
            return "the driver has not answered yet"
        if state == GPU_CLOSED:
            return "closed"
        return reason.decode(errors="replace")

    @property
    def gpus(self):
        """All GPUs, at most 64, by index; empty while nothing is measured."""
        cdef c_GpuTable table
        cdef uint32_t n
        cdef list found
        memset(&table, 0, sizeof(table))
        try:
            if c_gpu_copy(self.c, c_monotonic_ns(), &table) != 0:
                raise MemoryError
            found = [
                Gpu(
                    table.gpus[n].index,
                    table.gpus[n].uuid.decode(errors="replace"),
                    table.gpus[n].name.decode(errors="replace"),
                    c_told(table.gpus[n].memory_bytes),
                    bool(table.gpus[n].mig),
                    bool(table.gpus[n].lost),
                    bool(table.gpus[n].memory_measured),
                    bool(table.gpus[n].utilization_measured),
                )
                for n in range(table.gpu_count)
            ]
        finally:
            c_gpu_table_free(&table)
        return found

    def processes(self):
        """Who uses which GPU, by pid and index; empty while nothing is measured."""
        cdef c_GpuTable table
        cdef uint32_t n
        cdef list found
        memset(&table, 0, sizeof(table))
        try:
            if c_gpu_copy(self.c, c_monotonic_ns(), &table) != 0:
                raise MemoryError
            found = [
                GpuProcess(
                    table.uses[n].pid,
                    table.uses[n].gpu,
                    table.uses[n].start_ticks,
                    c_told(table.uses[n].memory_bytes),
                    table.uses[n].utilization_percent if table.uses[n].utilization_percent >= 0.0 else None,
                )
                for n in range(table.use_count)
            ]
        finally:
            c_gpu_table_free(&table)
        return found

    @property
    def sequence(self):
        """How many looks succeeded."""
        return self.c.sequence

    @property
    def age_seconds(self):
        """How old the values are; None before the first."""
        cdef uint64_t look_ns
        pthread_mutex_lock(&self.c.lock)
        look_ns = self.c.look_ns
        pthread_mutex_unlock(&self.c.lock)
        return (c_monotonic_ns() - look_ns) / 1e9 if look_ns else None

    @property
    def busy_ns(self):
        """CPU spent in looks so far."""
        return self.c.busy_ns

    def wait(self, double seconds):
        """Wait until a look or a try to connect has ended since the last call of this; False if none does within `seconds`."""
        cdef uint64_t until_ns = c_monotonic_ns() + <uint64_t>(max(seconds, 0.0) * 1e9)
        cdef bint done
        if not self.running:
            return False
        with nogil:
            pthread_mutex_lock(&self.c.lock)
            while self.c.turn == self.waited_turn and not self.c.ended and c_monotonic_ns() < until_ns:
                c_wait(&self.c.told, &self.c.lock, until_ns)
            done = self.c.turn != self.waited_turn
            self.waited_turn = self.c.turn
            pthread_mutex_unlock(&self.c.lock)
        return done


def probe(library=None, double seconds=5.0):
    """Try to measure GPUs once; return why that is impossible, or None. Takes up to `seconds` if the driver hangs."""
    with GpuMonitor(library) as monitor:
        if monitor.state == "starting" and not monitor.wait(seconds):
            return f"the driver does not answer within {seconds:g} s"
        return monitor.reason
