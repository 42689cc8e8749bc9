# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One tick over all slots, and the thread that ticks."""

from libc.errno cimport EACCES, EPERM
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, realloc
from libc.string cimport memcpy, strcmp
from posix.time cimport timespec

from metercore._c.pthread cimport (
    pthread_cond_timedwait,
    pthread_mutex_lock,
    pthread_mutex_unlock,
)
from metercore.backend cimport c_backend_look, c_Look
from metercore.bpf cimport c_Bpf
from metercore.clock cimport c_monotonic_ns, c_thread_cpu_ns
from metercore.gpu cimport c_gpu_copy
from metercore.gpusum cimport c_gpu_take
from metercore.memory cimport c_pss_candidates, c_pss_measure
from metercore.procfs cimport c_ProcMemory, c_read_memory, c_read_rollup
from metercore.publish cimport GAP_INTERVALS
from metercore.parents cimport c_parents_read
from metercore.roots cimport c_roots_apply
from metercore.sample cimport c_sample
from metercore.sampler cimport c_KeptNames, c_Sampler
from metercore.slots cimport HOLD_PROCESSES, MOST_GPUS, c_member_add, c_Slot, c_slot_of
from metercore.tree cimport c_tree_sweep
from metercore.uss cimport c_measure_uss

cdef uint64_t SECOND = 1000000000u
# New processes are looked for once a second, more often while a slot is young, and never for more than 2 % of a core.
cdef uint64_t SWEEP_NS = 1000000000u
cdef uint64_t YOUNG_SWEEP_NS = 200000000u
cdef uint64_t YOUNG_NS = 3000000000u
cdef uint64_t SWEEP_COST_FACTOR = 50
# Reading proportional sizes walks page tables: 1 % of a core for all slots together, with at most 50 ms saved or owed.
cdef double PSS_SHARE = 0.01
cdef double PSS_MOST_NS = 50e6

# What sleeps is looked at in turns once a look at everybody takes more than its share of the time between two ticks, but each at
# least twice a second. What runs is sampled at every tick.
cdef uint64_t MOST_LATE_NS = 500000000u

cdef enum:
    PSS_BATCH = 64       # processes per slot and tick


cdef bint c_sweep(c_Sampler *s, const c_Bpf *rows, uint64_t now_ns) noexcept nogil:
    """Look for new members if it is time; true when that was done, so that all slots know their members."""
    cdef uint64_t pause = SWEEP_NS
    cdef uint64_t before
    cdef uint32_t n
    cdef c_Slot *slot
    if s.roots.slot_count == 0:
        return 0
    if now_ns < s.roots.youngest_ns + YOUNG_NS:
        pause = YOUNG_SWEEP_NS
    pause = max(pause, s.sweep_cost_ns * SWEEP_COST_FACTOR)
    if now_ns + s.context.interval_ns // 2 < s.last_sweep_ns + pause:
        return 0
    s.last_sweep_ns = now_ns
    before = c_thread_cpu_ns()
    if c_tree_sweep(&s.tree, rows) != 0:
        return 0
    for n in range(s.tree.found_count):
        slot = c_slot_of(&s.slots, s.tree.found[n].owner)
        if slot == NULL:
            continue
        pthread_mutex_lock(&slot.work_lock)
        if slot.handle == s.tree.found[n].owner:
            c_member_add(slot, s.tree.found[n].pid, s.tree.found[n].start_ticks)
            slot.wants_pss = 1
            slot.pss_denied = 0
            slot.dirty = 1
            slot.pss_stale = 1
        pthread_mutex_unlock(&slot.work_lock)
    # A mean, since the first sweep, which reads everybody, is ten times as dear as the others.
    s.sweep_cost_ns = (3 * s.sweep_cost_ns + c_thread_cpu_ns() - before) // 4
    s.sweep_count += 1
    return 1


cdef void c_measure_pss(c_Sampler *s, c_Slot *slot, uint64_t handle, uint64_t now_ns) noexcept nogil:
    """Read shares without the slot's lock, since a large process takes milliseconds."""
    cdef int32_t[PSS_BATCH] pids
    cdef double[PSS_BATCH] shares
    cdef c_ProcMemory proportional, resident
    cdef double held
    cdef int32_t count = 0
    cdef int32_t n
    cdef int error
    cdef bint denied = 0
    pthread_mutex_lock(&slot.work_lock)
    if slot.handle == handle:
        slot.last_pss_ns = now_ns
        slot.pss_stale = 0
        count = c_pss_candidates(slot, pids, PSS_BATCH)
        if count == 0:
            slot.wants_pss = 0
    pthread_mutex_unlock(&slot.work_lock)
    if count == 0:
        return
    for n in range(count):
        shares[n] = -1.0
        error = c_read_rollup(pids[n], &proportional)
        if error == 0:
            error = c_read_memory(pids[n], &resident)
        elif error == -EACCES or error == -EPERM:
            denied = 1
        if error == 0:
            held = <double>(resident.anonymous_bytes + resident.shared_bytes + resident.swap_bytes)
            shares[n] = 1.0
            if held > 0.0:
                shares[n] = <double>(proportional.anonymous_bytes + proportional.shared_bytes + proportional.swap_bytes) / held
    s.pss_count += <uint64_t>count
    pthread_mutex_lock(&slot.work_lock)
    if slot.handle == handle:
        slot.pss_denied = denied
        c_pss_measure(slot, pids, shares, count)
    pthread_mutex_unlock(&slot.work_lock)


cdef void c_share_memory(c_Sampler *s, uint64_t now_ns, uint64_t since_ns) noexcept nogil:
    """Spend the budget on slots with new members first, then on the others in turn, each at most once a second."""
    cdef uint32_t n, at
    cdef uint64_t before
    cdef c_Slot *slot
    cdef int pass_
    s.pss_budget_ns = min(s.pss_budget_ns + PSS_SHARE * <double>since_ns, PSS_MOST_NS)
    for pass_ in range(2):
        for n in range(s.work_count):
            if s.pss_budget_ns <= 0.0:
                return
            at = (s.pss_cursor + n) % s.work_count
            slot = s.work[at]
            # Read without the lock: at worst a slot is looked at in vain, or one tick later.
            if slot.hold != HOLD_PROCESSES or slot.member_count < 2 or slot.pss_denied:
                continue
            if now_ns < slot.last_pss_ns + (SECOND // 5 if pass_ == 0 else SECOND):
                continue
            if not (slot.wants_pss if pass_ == 0 else slot.pss_stale):
                continue
            before = c_thread_cpu_ns()
            c_measure_pss(s, slot, s.work_handles[at], now_ns)
            s.pss_budget_ns -= <double>(c_thread_cpu_ns() - before)
            if pass_ == 1:
                s.pss_cursor = at + 1


cdef void c_find_unique(c_Sampler *s, uint64_t now_ns) noexcept nogil:
    """Spend what is left of the same budget on unique sizes, each slot at most once a second, in turn."""
    cdef uint32_t n, at
    cdef uint64_t before
    cdef c_Slot *slot
    for n in range(s.work_count):
        if s.pss_budget_ns <= 0.0:
            return
        at = (s.uss_cursor + n) % s.work_count
        slot = s.work[at]
        if not slot.uss_stale or now_ns < slot.last_uss_ns + SECOND:
            continue
        before = c_thread_cpu_ns()
        c_measure_uss(slot, s.work_handles[at], now_ns)
        s.pss_budget_ns -= <double>(c_thread_cpu_ns() - before)
        s.pss_count += 1
        if s.pss_budget_ns <= 0.0:
            s.uss_cursor = at + 1


cdef void c_copy_open(c_Sampler *s) noexcept nogil:
    """Copy the list of open slots if it has changed, so that they can be sampled without the table's lock."""
    cdef uint32_t n
    cdef void *more
    pthread_mutex_lock(&s.slots.lock)
    if s.work_change != s.slots.change_count:
        if s.work_room < s.slots.open_count:
            more = realloc(s.work, s.slots.room * sizeof(c_Slot *))
            if more != NULL:
                s.work = <c_Slot **>more
                more = realloc(s.work_handles, s.slots.room * sizeof(uint64_t))
            if more != NULL:
                s.work_handles = <uint64_t *>more
                s.work_room = s.slots.room
        s.work_count = min(s.slots.open_count, s.work_room)
        for n in range(s.work_count):
            s.work[n] = s.slots.open[n]
            s.work_handles[n] = s.slots.open[n].handle
        s.work_change = s.slots.change_count
    pthread_mutex_unlock(&s.slots.lock)


cdef void c_name_gpus(c_Sampler *s) noexcept nogil:
    """Note what the GPUs are called, if that is new."""
    cdef c_KeptNames *kept = s.gpu_names
    cdef uint32_t n
    cdef bint same = kept != NULL
    for n in range(min(s.gpus.gpu_count, <uint32_t>MOST_GPUS)):
        if same:
            same = (
                strcmp(kept.names.by_index[n].uuid, s.gpus.gpus[n].uuid) == 0
                and strcmp(kept.names.by_index[n].name, s.gpus.gpus[n].name) == 0
            )
    if same:
        return
    kept = <c_KeptNames *>calloc(1, sizeof(c_KeptNames))
    if kept == NULL:
        return
    for n in range(min(s.gpus.gpu_count, <uint32_t>MOST_GPUS)):
        memcpy(kept.names.by_index[n].uuid, s.gpus.gpus[n].uuid, sizeof(kept.names.by_index[n].uuid))
        memcpy(kept.names.by_index[n].name, s.gpus.gpus[n].name, sizeof(kept.names.by_index[n].name))
    kept.before = s.gpu_names
    s.gpu_names = kept


cdef void c_copy_gpus(c_Sampler *s) noexcept nogil:
    """Bring the copy of what is known of GPUs up to date; no tick waits for a driver that hangs: what it told is absent then."""
    cdef uint64_t before = s.gpus.sequence
    if s.gpu == NULL:
        return
    c_gpu_copy(s.gpu, c_monotonic_ns(), &s.gpus)
    if s.gpus.sequence != before and s.gpus.measured:
        c_name_gpus(s)


cdef void c_choose_turns(c_Sampler *s, uint64_t cost_ns) noexcept nogil:
    """See from the cost of a tick among how many the next ones are to be spread."""
    cdef uint64_t interval_ns = s.context.interval_ns
    cdef uint32_t before = s.turns
    s.visit_cost_ns = (7 * s.visit_cost_ns + cost_ns * s.turns) // 8
    cdef double needed = 1 + <double>s.visit_cost_ns / (s.visit_share * <double>interval_ns)
    s.turns = <uint32_t>min(needed, max(<double>(MOST_LATE_NS // interval_ns), 1.0))
    s.context.late_ns = MOST_LATE_NS if s.turns > 1 or before > 1 else 0  # some have waited for a turn that is never theirs


cdef bint c_may_wait(const c_Sampler *s, const c_Slot *slot, uint32_t n, bint swept, uint64_t now_ns) noexcept nogil:
    """Whether a slot sleeps and it is not its turn. Read without its lock: at worst it is looked at in vain, or a turn later."""
    if not slot.quiet or (n + s.tick_count) % s.turns == 0:
        return 0
    if now_ns >= slot.last_report_ns + SECOND or now_ns >= slot.last_tick_ns + MOST_LATE_NS:  # ticks may be late, too
        return 0
    return slot.gpu_count == 0 and not (swept and slot.in_tree)


cdef void c_tick(c_Sampler *s) noexcept nogil:
    """Sample every open slot once."""
    cdef uint64_t before = c_thread_cpu_ns()
    cdef uint64_t now_ns = c_monotonic_ns() + s.skipped_ns
    cdef uint64_t since_ns = now_ns - s.last_tick_ns if s.last_tick_ns else 0
    cdef bint swept, asleep
    cdef uint32_t n
    cdef uint32_t members = 0
    cdef uint32_t visited = 0
    cdef c_Slot *slot
    cdef c_Look look
    s.last_tick_ns = now_ns
    # In this order: a slot's root is noted before the slot is listed, so every slot in the copy takes part in the sweep.
    c_copy_open(s)
    c_roots_apply(&s.roots, &s.tree)
    c_backend_look(&s.backend, &look, s.tree.count, now_ns)
    swept = c_sweep(s, look.rows, now_ns)
    c_parents_read(&s.parents, s.tick_count + 1)
    c_copy_gpus(s)
    for n in range(s.work_count):
        slot = s.work[n]
        if s.turns > 1 and c_may_wait(s, slot, n, swept, now_ns):
            if slot.in_tree:
                members += <uint32_t>slot.member_count
            continue
        visited += 1
        pthread_mutex_lock(&slot.work_lock)
        if slot.handle == s.work_handles[n]:
            # Stamped right before its reads: with many slots the first and the last are milliseconds apart.
            now_ns = c_monotonic_ns() + s.skipped_ns
            if slot.in_tree and look.rows != NULL:
                now_ns = look.now_ns
            if now_ns > slot.last_tick_ns:
                asleep = slot.parent >= 0 and s.parents.all[slot.parent].ran_tick <= slot.visit_tick
                slot.visit_tick = s.tick_count + 1
                # A GPU is busy while its process sleeps.
                if s.gpu != NULL and c_gpu_take(slot, &s.gpus, s.skipped_ns):
                    slot.quiet = 0
                c_sample(slot, &s.context, &look, now_ns, swept, asleep, 0)
            if slot.in_tree:
                members += <uint32_t>slot.member_count
        pthread_mutex_unlock(&slot.work_lock)
    s.backend.member_count = members
    if s.work_count > 0:
        c_share_memory(s, now_ns, since_ns)
        if s.context.measure_uss:
            c_find_unique(s, now_ns)
    s.context.gap_ns = GAP_INTERVALS * s.context.interval_ns
    s.sample_count += visited
    s.tick_count += 1
    before = c_thread_cpu_ns() - before
    s.busy_ns += before
    c_choose_turns(s, before)


cdef void *c_run(void *argument) noexcept nogil:
    """The thread: tick at fixed times until it is told to stop; never touches Python."""
    cdef c_Sampler *s = <c_Sampler *>argument
    cdef uint64_t next_ns = c_monotonic_ns()
    cdef uint64_t now_ns
    cdef uint64_t interval_ns = s.context.interval_ns
    cdef timespec until
    pthread_mutex_lock(&s.wake_lock)
    while not s.stopping:
        now_ns = c_monotonic_ns()
        if interval_ns != s.context.interval_ns:  # changed: count from now on
            interval_ns = s.context.interval_ns
            next_ns = min(next_ns, now_ns + interval_ns)
        if now_ns < next_ns:
            until.tv_sec = <long>(next_ns // SECOND)
            until.tv_nsec = <long>(next_ns % SECOND)
            pthread_cond_timedwait(&s.wake, &s.wake_lock, &until)
            continue
        pthread_mutex_unlock(&s.wake_lock)
        c_tick(s)
        now_ns = c_monotonic_ns()
        next_ns += interval_ns
        if now_ns > next_ns:
            # Missed: leave out what cannot be caught up with and keep the phase.
            s.overrun_count += (now_ns - next_ns) // interval_ns + 1
            next_ns += ((now_ns - next_ns) // interval_ns + 1) * interval_ns
        pthread_mutex_lock(&s.wake_lock)
    pthread_mutex_unlock(&s.wake_lock)
    return NULL
