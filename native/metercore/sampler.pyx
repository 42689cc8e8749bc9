# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The sampler: one native thread that meters every open slot at a fixed rate, and what Python may ask of it.

The thread never holds the GIL. Readers get the values of the last tick at the price of a copy; opening and finishing a slot
take its first and last sample in the calling thread, with the GIL released.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strdup
from posix.signal cimport sigset_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, clockid_t, timespec

from metercore._c.linux cimport _SC_NPROCESSORS_ONLN, sysconf
from metercore._c.pthread cimport (
    SIG_SETMASK,
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_condattr_destroy,
    pthread_condattr_init,
    pthread_condattr_setclock,
    pthread_condattr_t,
    pthread_create,
    pthread_getcpuclockid,
    pthread_join,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    pthread_setname_np,
    pthread_sigmask,
    sigfillset,
)
from metercore.backend cimport c_backend_close, c_backend_open, c_Look
from metercore.clock cimport c_monotonic_ns
from metercore.encode cimport HOT_BYTES, c_encode_hot, c_GpuNames
from metercore.errors cimport raise_errno
from metercore.gpu cimport GpuMonitor, c_gpu_table_free
from metercore.history cimport c_History, c_history_answer, c_history_flush
from metercore.limit cimport c_cpu_mounts
from metercore.memory cimport c_is_empty
from metercore.meterpage cimport c_meter_store, c_meter_write
from metercore.parents cimport c_parents_close, c_parents_find, c_parents_open
from metercore.publish cimport GAP_INTERVALS
from metercore.reading cimport Reading
from metercore.reported cimport c_reported_begin, c_reported_note
from metercore.roots cimport c_roots_close, c_roots_note, c_roots_open
from metercore.sample cimport c_integrated_realtime, c_persist, c_sample, c_start
from metercore.settle cimport c_Ending, c_fill_ending, c_final_view, c_settle
from metercore.slots cimport (
    HOLD_CGROUP_V1,
    HOLD_CGROUP_V2,
    HOLD_NONE,
    HOLD_PROCESSES,
    MOST_GPUS,
    SOURCE_CGROUP,
    SOURCE_NONE,
    c_rare_own,
    c_Slot,
    c_slot_give,
    c_slot_list,
    c_slot_of,
    c_slot_release,
    c_slot_take,
    c_slot_unlist,
    c_slots_close,
    c_slots_open,
    c_View,
    c_view_copy,
    c_view_move,
)
from metercore.tariff cimport c_Tariff, Tariff
from metercore.tick cimport c_run, c_tick
from metercore.tokens cimport c_int_wide
from metercore.tree cimport c_tree_close, c_tree_open

import os
from typing import NamedTuple

from metercore.backend import name_of, source_of
from metercore.historyfile import check_range

cdef c_GpuNames NO_NAMES
memset(&NO_NAMES, 0, sizeof(NO_NAMES))

SLOWEST_HZ = 0.1
FASTEST_HZ = 20.0
VISIT_SHARE = 0.1
DEFAULT_HZ = 10.0


# Whoever looks when it suits them has no interval that could be missed.
cdef uint64_t NEVER_NS = 1 << 62

cdef enum:
    MOST_TURNS = 64      # of a look, each of which reads the shares of 64 newcomers

DEFAULT_TARIFF = Tariff("default", 1)


class SamplerStats(NamedTuple):
    """What the sampler itself did and cost since it was made."""

    tick_count: int
    overrun_count: int
    sweep_count: int
    sample_count: int
    pss_count: int
    busy_ns: int
    thread_cpu_ns: int
    slot_count: int


cdef char *c_copy(object text) except? NULL:
    """A malloc'ed copy of a path; NULL for an empty one."""
    cdef bytes encoded
    cdef char *copy
    if not text:
        return NULL
    encoded = os.fsencode(text)
    copy = strdup(encoded)
    if copy == NULL:
        raise MemoryError
    return copy


cdef class Sampler:
    """Meter process trees: `open` gives a handle, everything else asks by it.

    With `start=False` there is no thread and `tick` samples; that is for tests and benchmarks. Handles are never used twice;
    one that was finished raises KeyError. `backend` forces how processes without a cgroup are read, "bpf", "clock" or "procfs";
    "auto" chooses, and chooses anew when one fails. `measure_uss` reads unique set sizes too. Once a tick takes more than
    `visit_share` of the time between two, what sleeps takes turns, twice a second at least. Raises ValueError, or OSError for a
    back end that does not work here.
    """

    def __cinit__(self):
        cdef pthread_condattr_t attributes
        self.c = <c_Sampler *>calloc(1, sizeof(c_Sampler))
        if self.c == NULL:
            raise MemoryError
        c_slots_open(&self.c.slots)
        c_parents_open(&self.c.parents)
        c_roots_open(&self.c.roots)
        pthread_mutex_init(&self.c.wake_lock, NULL)
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&self.c.wake, &attributes)
        pthread_condattr_destroy(&attributes)
        self.c.pss_budget_ns = 50e6
        self.c.turns = 1
        self.c.context.online_cores = <double>sysconf(_SC_NPROCESSORS_ONLN)
        self.tariffs = []
        self.monitors = []

    def __init__(self, double hz=DEFAULT_HZ, *, start=True, str backend not None="auto", bint measure_uss=False,
                 double visit_share=VISIT_SHARE):
        cdef int error = c_tree_open(&self.c.tree)
        if error != 0:
            raise_errno(-error, None)
        c_cpu_mounts(b"/proc/self/mountinfo", &self.c.context.mounts)
        c_backend_open(&self.c.backend, source_of(backend))
        if not 0 < visit_share <= 1:
            raise ValueError("visit_share must be above 0 and at most 1")
        self.c.visit_share = visit_share
        self.c.context.measure_uss = measure_uss
        self.set_hz(hz)
        if start:
            self.start()

    def __dealloc__(self):
        cdef c_KeptNames *names
        if self.c == NULL:
            return
        self.join()
        c_slots_close(&self.c.slots)
        c_parents_close(&self.c.parents)
        c_roots_close(&self.c.roots)
        c_tree_close(&self.c.tree)
        c_backend_close(&self.c.backend)
        pthread_cond_destroy(&self.c.wake)
        pthread_mutex_destroy(&self.c.wake_lock)
        c_gpu_table_free(&self.c.gpus)
        while self.c.gpu_names != NULL:
            names = self.c.gpu_names
            self.c.gpu_names = names.before
            free(names)
        free(self.c.work)
        free(self.c.work_handles)
        free(self.c)
        self.c = NULL

    # ------------------------------------------------------------------------------------------------- the thread

    def start(self):
        """Start the thread unless it runs. Signals are blocked in it: they are the main thread's."""
        cdef sigset_t wanted, old
        cdef int error
        if self.c.running:
            return
        self.c.stopping = 0
        sigfillset(&wanted)
        pthread_sigmask(SIG_SETMASK, &wanted, &old)
        error = pthread_create(&self.c.thread, NULL, c_run, self.c)
        pthread_sigmask(SIG_SETMASK, &old, NULL)
        if error != 0:
            raise_errno(error, None)
        pthread_setname_np(self.c.thread, b"tm-sampler")
        self.c.running = 1

    cdef void join(self) noexcept:
        if not self.c.running:
            return
        with nogil:
            pthread_mutex_lock(&self.c.wake_lock)
            self.c.stopping = 1
            pthread_cond_signal(&self.c.wake)
            pthread_mutex_unlock(&self.c.wake_lock)
            pthread_join(self.c.thread, NULL)
        self.c.running = 0

    def close(self):
        """Stop the thread and persist every account. What is open can still be read and finished."""
        cdef uint32_t n
        cdef c_Slot *slot
        self.join()
        for n in range(self.c.slots.open_count):
            slot = self.c.slots.open[n]
            c_persist(slot, c_monotonic_ns() + self.c.skipped_ns)
            c_history_flush(&slot.history, slot.directory)

    @property
    def hz(self):
        """Ticks per second."""
        return 1e9 / <double>self.c.context.interval_ns

    @property
    def backend(self):
        """What the newest tick read processes without a cgroup with: "bpf", "clock" or "procfs"."""
        return name_of(self.c.backend.shown)

    def set_hz(self, double hz):
        """Tick so often from now on: 0.1 to 20 times a second. Raises ValueError."""
        if not SLOWEST_HZ <= hz <= FASTEST_HZ:
            raise ValueError(f"a sampling rate is {SLOWEST_HZ} to {FASTEST_HZ} Hz")
        pthread_mutex_lock(&self.c.wake_lock)
        self.c.context.interval_ns = <uint64_t>(1e9 / hz)
        # Until the next tick the time since the one before is measured by the longer of both intervals.
        self.c.context.gap_ns = max(self.c.context.gap_ns, GAP_INTERVALS * self.c.context.interval_ns)
        pthread_cond_signal(&self.c.wake)
        pthread_mutex_unlock(&self.c.wake_lock)

    cdef const c_Tariff *kept_tariff(self, Tariff wanted) except NULL:
        """The address of a tariff with these very prices; it stays as long as the sampler."""
        cdef Tariff one
        for one in self.tariffs:
            if memcmp(&one.c, &wanted.c, sizeof(c_Tariff)) == 0:
                return &one.c
        self.tariffs.append(wanted)
        return &wanted.c

    def watch_gpus(self, GpuMonitor monitor not None):
        """Account for GPUs too, as `monitor` sees them from now on. It is kept, and not closed."""
        self.monitors.append(monitor)
        self.c.gpu = monitor.c

    cdef const c_GpuNames *names(self) noexcept nogil:
        cdef c_KeptNames *kept = self.c.gpu_names
        return &kept.names if kept != NULL else &NO_NAMES

    def gpu_name(self, int index):
        """Return (uuid, name) of a GPU, ("", "") when it is not known."""
        cdef const c_GpuNames *names = self.names()
        if not 0 <= index < MOST_GPUS:
            return "", ""
        return names.by_index[index].uuid.decode(errors="replace"), names.by_index[index].name.decode(errors="replace")

    def tick(self, double skip_seconds=0.0):
        """Sample every slot once, now. Only without a thread. `skip_seconds` lets the monotonic clock jump first.

        Raises RuntimeError while the thread runs, ValueError for a clock that would go back.
        """
        if not skip_seconds >= 0.0:
            raise ValueError("the monotonic clock does not go back")
        if self.c.running:
            raise RuntimeError("the sampler's own thread ticks")
        self.c.skipped_ns += <uint64_t>(skip_seconds * 1e9)
        with nogil:
            c_tick(self.c)

    cdef void make_due(self, bint all_) noexcept nogil:
        """Have the next tick read the memory of each slot, and with `all_` everything else too."""
        cdef uint32_t n
        cdef c_Slot *slot
        self.c.context.gap_ns = NEVER_NS
        for n in range(self.c.slots.open_count):
            slot = self.c.slots.open[n]
            pthread_mutex_lock(&slot.work_lock)
            slot.quiet = 0
            slot.dirty = 1
            slot.visit_tick = 0
            slot.last_memory_ns = 0
            if slot.wants_pss:
                slot.last_pss_ns = 0
            if all_:
                slot.last_report_ns = slot.last_io_ns = slot.last_detail_ns = 0
            pthread_mutex_unlock(&slot.work_lock)

    cdef void look_now(self) noexcept nogil:
        cdef uint64_t measured
        cdef int turn
        self.c.last_sweep_ns = 0
        for turn in range(MOST_TURNS):
            measured = self.c.pss_count
            self.make_due(turn == 0)
            c_tick(self.c)
            if self.c.pss_count == measured:  # whose shares were read counts from the next tick on
                break

    def look(self):
        """Sample every slot now and in full, whether it is due or not, new processes included. Only without a thread.

        However long the last look is ago, the time since then is no gap. One caller at a time. Raises RuntimeError while the
        thread runs.
        """
        if self.c.running:
            raise RuntimeError("the sampler's own thread ticks")
        with nogil:
            self.look_now()

    def stats(self):
        """Return what the sampler did and cost so far."""
        cdef clockid_t clock
        cdef timespec used
        used.tv_sec = used.tv_nsec = 0
        if self.c.running and pthread_getcpuclockid(self.c.thread, &clock) == 0:
            clock_gettime(clock, &used)
        return SamplerStats(
            self.c.tick_count,
            self.c.overrun_count,
            self.c.sweep_count,
            self.c.sample_count,
            self.c.pss_count,
            self.c.busy_ns,
            used.tv_sec * 1000000000 + used.tv_nsec,
            self.c.slots.open_count,
        )

    # ---------------------------------------------------------------------------------------------------- a slot

    cdef c_Slot *slot_of(self, uint64_t handle) except NULL:
        cdef c_Slot *slot = c_slot_of(&self.c.slots, handle)
        if slot == NULL:
            raise KeyError(handle)
        return slot

    cdef void quick_look(self, c_Look *look) noexcept nogil:
        """How a single slot is read outside of ticks: a pass would cost more than it saves, and its rows are the thread's."""
        look.source = self.c.backend.base
        look.rows = NULL
        look.now_ns = 0

    def open(
        self,
        int32_t shim_pid,
        int32_t main_pid,
        str directory=None,
        *,
        str cgroup_v2 not None="",
        str cgroup_v1_memory not None="",
        str cgroup_v1_cpuacct not None="",
        int64_t total_count=0,
        int64_t total_size=0,
        Tariff tariff=None,
        bint attached=False,
        bint include_descendants=True,
        uint64_t main_start_ticks=0,
        bint external=False,
    ):
        """Start metering the tree below `shim_pid`, or go on from the meter page in `directory`; return the handle.

        Without a directory nothing is kept: there is no report block, no meter page and no history. The first sample is taken
        before this returns. CPU is read from `cgroup_v2` or `cgroup_v1_cpuacct` and memory from memory.stat of `cgroup_v2` or
        `cgroup_v1_memory`, as far as they exist, else from processes. Tokens are priced by `tariff`, or by the default one.
        `main_start_ticks` (0 = not known) says with `main_pid` who is meant. `attached`: that process ran before and is not below
        the shim. It is metered from now on, with its descendants if they are included. `external`: there is no process here,
        only what is reported. Raises MemoryError.
        """
        cdef c_Slot *slot
        cdef c_Look look
        cdef uint64_t handle
        slot = c_slot_take(&self.c.slots)
        if slot == NULL:
            raise MemoryError
        handle = slot.handle
        slot.external = external
        slot.shim_pid = 0 if attached or external else shim_pid
        slot.main_pid = 0 if external else main_pid
        slot.main_start_ticks = main_start_ticks
        slot.attached = attached
        slot.descendants = include_descendants or not attached
        slot.spec_total_count = total_count
        slot.spec_total_size = total_size
        slot.tariff = self.kept_tariff(DEFAULT_TARIFF if tariff is None else tariff)
        try:
            if directory is not None:
                slot.directory = c_copy(directory)
                if os.path.exists(directory + "/reported") and not c_reported_begin(slot):
                    raise MemoryError
            slot.hold = HOLD_NONE if external else HOLD_PROCESSES
            for cgroup, name, v1 in ((cgroup_v2, "cpu.stat", False), (cgroup_v1_cpuacct, "cpuacct.usage", True)):
                if slot.cgroup == NULL and cgroup and os.path.exists(f"{cgroup}/{name}"):
                    slot.source = SOURCE_CGROUP
                    slot.cgroup = c_copy(cgroup)
                    slot.cgroup_is_v2 = not v1
                    slot.parent = c_parents_find(&self.c.parents, os.fsencode(f"{os.path.dirname(cgroup)}/{name}"), v1)
            if cgroup_v2 and os.path.exists(cgroup_v2 + "/memory.stat"):
                slot.hold = HOLD_CGROUP_V2
                slot.cgroup_memory = slot.cgroup if slot.cgroup_is_v2 else c_copy(cgroup_v2)
            elif cgroup_v1_memory and os.path.exists(cgroup_v1_memory + "/memory.stat"):
                slot.hold = HOLD_CGROUP_V1
                slot.cgroup_memory = c_copy(cgroup_v1_memory)
        except BaseException:
            c_slot_release(slot)
            c_slot_give(&self.c.slots, slot)
            raise
        slot.in_tree = slot.source == SOURCE_NONE and not external
        self.quick_look(&look)
        with nogil:
            pthread_mutex_lock(&slot.work_lock)
            c_start(slot, &self.c.context, &look, c_monotonic_ns() + self.c.skipped_ns)
            if slot.in_tree and slot.descendants:
                c_roots_note(&self.c.roots, slot, 1)
            pthread_mutex_unlock(&slot.work_lock)
            c_slot_list(&self.c.slots, slot)
        return handle

    def note_report(self, uint64_t handle):
        """Have `reported` in the attempt's directory read by the next tick, and from then on. Raises MemoryError."""
        cdef c_Slot *slot = self.slot_of(handle)
        cdef bint noted
        with nogil:
            noted = c_reported_note(slot, handle)
        if not noted:
            raise MemoryError

    def set_earlier(
        self,
        uint64_t handle,
        uint64_t cpu_ns,
        memory_byte_ns2,
        *,
        gpu_memory_byte_ns2=0,
        uint64_t gpu_ns=0,
        custom=None,
    ):
        """Add the integrals of earlier attempts to the tokens that `hot` shows. Raises MemoryError, and then adds nothing."""
        cdef c_Slot *slot = self.slot_of(handle)
        cdef uint64_t low, high, gpu_low, gpu_high
        cdef uint64_t[16] counts
        cdef int n
        c_int_wide(memory_byte_ns2, &low, &high)
        c_int_wide(gpu_memory_byte_ns2, &gpu_low, &gpu_high)
        memset(counts, 0, sizeof(counts))
        for n in range(slot.tariff.custom_count):
            counts[n] = (custom or {}).get((<const char *>slot.tariff.custom[n].name).decode(), 0)
        pthread_mutex_lock(&slot.view_lock)
        if memcmp(slot.view.rare.earlier_custom_counts, counts, sizeof(counts)) != 0:
            if not c_rare_own(&slot.view.rare):
                pthread_mutex_unlock(&slot.view_lock)
                raise MemoryError
            memcpy(slot.view.rare.earlier_custom_counts, counts, sizeof(counts))
        slot.view.earlier_cpu_ns = cpu_ns
        slot.view.earlier_byte_ns2_low = low
        slot.view.earlier_byte_ns2_high = high
        slot.view.earlier_gpu_byte_ns2_low = gpu_low
        slot.view.earlier_gpu_byte_ns2_high = gpu_high
        slot.view.earlier_gpu_ns = gpu_ns
        slot.view.version += 1
        pthread_mutex_unlock(&slot.view_lock)

    def hot(self, uint64_t handle):
        """Return the changing fields of TaskStatus as of the last tick, encoded."""
        cdef unsigned char[HOT_BYTES] out
        cdef c_Slot *slot = self.slot_of(handle)
        cdef int size
        pthread_mutex_lock(&slot.view_lock)
        size = c_encode_hot(&slot.view, slot.tariff, self.names(), out)
        pthread_mutex_unlock(&slot.view_lock)
        return (<char *>out)[:size]

    def version(self, uint64_t handle):
        """Return a number that grows when `hot` shows something new."""
        cdef c_Slot *slot = self.slot_of(handle)
        return slot.view.version

    def is_ready(self, uint64_t handle):
        """Tell whether the work announced that it is ready."""
        cdef c_Slot *slot = self.slot_of(handle)
        return slot.view.shown.ready != 0

    def is_empty(self, uint64_t handle):
        """Tell whether nobody of the tree lived at the last tick; zombies do not."""
        cdef c_Slot *slot = self.slot_of(handle)
        cdef bint empty
        with nogil:
            pthread_mutex_lock(&slot.work_lock)
            empty = c_is_empty(slot)
            pthread_mutex_unlock(&slot.work_lock)
        return bool(empty)

    def read(self, uint64_t handle):
        """Return what is known as of the last tick. Raises MemoryError."""
        cdef c_Slot *slot = self.slot_of(handle)
        cdef Reading reading = Reading.__new__(Reading)
        cdef bint whole
        pthread_mutex_lock(&slot.view_lock)
        whole = c_view_copy(&reading.view, &slot.view)
        pthread_mutex_unlock(&slot.view_lock)
        if not whole:
            raise MemoryError
        return reading

    def history(self, uint64_t handle, double from_time=0.0, double to_time=0.0, double resolution_seconds=0.0):
        """Return what `historyfile.read_history` does, with what is not written yet. Raises ValueError without a directory."""
        cdef c_Slot *slot = self.slot_of(handle)
        cdef c_History history
        cdef char *directory = NULL
        check_range(from_time, to_time, resolution_seconds)
        if slot.directory == NULL:
            raise ValueError("without a directory there is no history")
        with nogil:
            pthread_mutex_lock(&slot.work_lock)
            if slot.handle == handle and slot.directory != NULL:
                history = slot.history
                directory = strdup(slot.directory)
            pthread_mutex_unlock(&slot.work_lock)
        if directory == NULL:
            raise KeyError(handle)
        try:
            return c_history_answer(&history, directory, from_time, to_time, resolution_seconds)
        finally:
            free(directory)

    cdef void conclude(self, c_Slot *slot, c_Ending *ending, uint64_t kernel_peak_bytes, c_View *view) noexcept nogil:
        """Take the last sample, close the account, persist it, move it into the view, release the slot; under work_lock."""
        cdef uint64_t now_ns = c_monotonic_ns() + self.c.skipped_ns
        cdef uint64_t life_ns
        cdef char[4200] path
        cdef c_Look look
        self.quick_look(&look)
        c_sample(slot, &self.c.context, &look, now_ns, 0, 0, 1)
        c_history_flush(&slot.history, slot.directory)
        slot.account.last_realtime_ns = c_integrated_realtime(slot, now_ns)
        # The wall clock may have been set meanwhile; the last value is never held beyond now.
        ending.most_held_ns = now_ns - min(slot.account.last_monotonic_ns, now_ns)
        life_ns = c_settle(&slot.account, ending, self.c.context.online_cores)
        if life_ns == 0:
            life_ns = now_ns - min(slot.account.first_monotonic_ns, now_ns)
        if slot.directory != NULL:
            snprintf(path, 4200, b"%s/meter", slot.directory)
            if slot.meter_descriptor >= 0:
                c_meter_store(&slot.meter_descriptor, path, &slot.account)
            else:
                c_meter_write(path, &slot.account)
        pthread_mutex_lock(&slot.view_lock)
        if kernel_peak_bytes > 0:
            slot.view.shown.kernel_peak_memory_bytes = kernel_peak_bytes
        c_view_move(view, &slot.view)
        pthread_mutex_unlock(&slot.view_lock)
        c_final_view(view, &slot.account, life_ns, slot.allowed_cores, self.c.context.online_cores)
        if slot.in_tree and slot.descendants:
            c_roots_note(&self.c.roots, slot, 0)
        c_slot_release(slot)

    def finish(
        self,
        uint64_t handle,
        *,
        double start_time=0.0,
        double end_time=0.0,
        reaped_cpu_ns=0,
        cgroup_cpu_ns=0,
        max_rss_bytes=0,
        read_bytes=None,
        write_bytes=None,
        kernel_peak_memory_bytes=0,
        minor_fault_count=0,
        major_fault_count=0,
        voluntary_switch_count=0,
        involuntary_switch_count=0,
    ):
        """Take the last sample, put over it what is known of the end, persist the account, close the slot; return it all.

        Times are Unix seconds, 0 = unknown; the rest is what the shim recorded of the ended tree.
        """
        cdef c_Slot *slot = self.slot_of(handle)
        cdef Reading reading = Reading.__new__(Reading)
        cdef c_Ending ending
        cdef uint64_t peak = kernel_peak_memory_bytes
        cdef bint open_ = 0
        c_fill_ending(
            &ending, start_time, end_time, reaped_cpu_ns, cgroup_cpu_ns, max_rss_bytes, read_bytes, write_bytes,
            minor_fault_count, major_fault_count, voluntary_switch_count, involuntary_switch_count,
        )
        with nogil:
            pthread_mutex_lock(&slot.work_lock)
            open_ = slot.handle == handle  # nobody finished it while we waited
            if open_:
                self.conclude(slot, &ending, peak, &reading.view)
            pthread_mutex_unlock(&slot.work_lock)
            if open_:
                c_slot_unlist(&self.c.slots, slot)
                c_slot_give(&self.c.slots, slot)
        if not open_:
            raise KeyError(handle)
        return reading
