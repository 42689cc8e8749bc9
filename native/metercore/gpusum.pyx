# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the processes of one slot use of all GPUs together, integrated over time.

Memory is the trapezoid between looks, and held at its last value over a gap in which the driver did not answer, and up to the
end of the task (settle.pyx). GPU time is utilisation × time since the look before, rounded to nanoseconds once per look, and
over a gap only that of one interval: what the driver says of utilisation is a mean of unknown reach then. A figure of which a
part is not told is absent as a whole.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memset

from metercore._c.meter cimport tm_meter
from metercore.cgroup cimport c_read_ids
from metercore.gpu cimport c_gpu_find, c_GpuTable
from metercore.gpulook cimport WATCHED_GPUS, c_GpuProcess
from metercore.slots cimport ABSENT, MOST_GPUS, UNKNOWN, c_NOTHING_RARE, c_rare_own, c_Slot
from metercore.tokens cimport c_add_trapezoid

cdef uint64_t GAP_SHOWN_NS = 2000000000u  # as in sample.pyx

cdef enum:
    MOST_IDS = 2048

cdef struct c_Sum:
    bint[WATCHED_GPUS] used
    uint64_t[WATCHED_GPUS] memory_bytes
    double[WATCHED_GPUS] percent


cdef void c_add_process(c_Sum *sums, const c_GpuTable *table, int32_t pid, uint64_t start_ticks) noexcept nogil:
    """Add what a process uses; one of the same pid that started at another time is somebody else. 0 = not known when."""
    cdef uint32_t at = c_gpu_find(table, pid)
    cdef const c_GpuProcess *use
    while at < table.use_count and table.uses[at].pid == pid:
        use = &table.uses[at]
        at += 1
        if start_ticks != 0 and use.start_ticks != 0 and use.start_ticks != start_ticks:
            continue
        if not sums.used[use.gpu]:
            sums.used[use.gpu] = 1
            sums.memory_bytes[use.gpu] = use.memory_bytes
            sums.percent[use.gpu] = use.utilization_percent
            continue
        if use.memory_bytes == ABSENT or sums.memory_bytes[use.gpu] == ABSENT:
            sums.memory_bytes[use.gpu] = ABSENT
        else:
            sums.memory_bytes[use.gpu] += use.memory_bytes
        if use.utilization_percent < 0.0 or sums.percent[use.gpu] < 0.0:
            sums.percent[use.gpu] = UNKNOWN
        else:
            # Who shares a GPU may be said to use a little more than all of it together.
            sums.percent[use.gpu] = min(sums.percent[use.gpu] + use.utilization_percent, 100.0)


cdef void c_add_members(c_Slot *slot, c_Sum *sums, const c_GpuTable *table) noexcept nogil:
    cdef char[4200] path
    cdef int32_t[MOST_IDS] ids
    cdef int32_t count, n
    if slot.in_tree:
        for n in range(slot.member_count):
            c_add_process(sums, table, slot.members[n].pid, slot.members[n].start_ticks)
        return
    snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
    count = min(c_read_ids(path, ids, MOST_IDS), <int32_t>MOST_IDS)
    for n in range(count):
        c_add_process(sums, table, ids[n], 0)


cdef void c_list(c_Slot *slot, const c_Sum *sums, uint32_t gpu_count, uint64_t *memory_bytes, double *percent) noexcept nogil:
    """List the first GPUs that are used, and sum over all."""
    cdef uint32_t n
    slot.gpu_count = 0
    if slot.rare != &c_NOTHING_RARE:
        memset(slot.rare.gpus, 0, sizeof(slot.rare.gpus))
    for n in range(gpu_count):
        if not sums.used[n]:
            continue
        if slot.gpu_count < MOST_GPUS and c_rare_own(&slot.rare):
            slot.rare.gpus[slot.gpu_count].index = <int32_t>n
            slot.rare.gpus[slot.gpu_count].memory_bytes = sums.memory_bytes[n]
            slot.rare.gpus[slot.gpu_count].percent = sums.percent[n]
            slot.gpu_count += 1
        if sums.memory_bytes[n] == ABSENT or memory_bytes[0] == ABSENT:
            memory_bytes[0] = ABSENT
        else:
            memory_bytes[0] += sums.memory_bytes[n]
        if sums.percent[n] >= 0.0 and percent[0] >= 0.0:
            percent[0] += sums.percent[n]
        else:
            percent[0] = UNKNOWN


cdef void c_integrate_memory(c_Slot *slot, uint64_t held_bytes, uint64_t look_ns, uint64_t since_ns, bint gap) noexcept nogil:
    """Add the trapezoid from the last look to this one; before the first one the task held nothing."""
    cdef tm_meter *account = &slot.account
    cdef uint64_t before = 0 if account.gpu_monotonic_ns == 0 else slot.gpu_held_bytes
    if before != ABSENT:
        c_add_trapezoid(
            &account.gpu_memory_byte_ns2_low, &account.gpu_memory_byte_ns2_high, before, before if gap else held_bytes, since_ns
        )
    if gap and before != ABSENT and before > 0:
        account.had_gap = 1
        slot.gap_until_ns = look_ns + GAP_SHOWN_NS
    slot.gpu_held_bytes = account.gpu_memory_bytes = held_bytes
    account.gpu_monotonic_ns = look_ns
    if account.peak_gpu_memory_bytes == ABSENT or account.peak_gpu_memory_bytes < held_bytes:
        account.peak_gpu_memory_bytes = held_bytes


cdef void c_forget(c_Slot *slot) noexcept nogil:
    """Nothing is measured now; what was integrated stays."""
    slot.gpu_sequence = 0
    slot.gpu_count = 0
    slot.gpu_percent = UNKNOWN
    if slot.rare != &c_NOTHING_RARE:
        memset(slot.rare.gpus, 0, sizeof(slot.rare.gpus))
    slot.account.gpu_memory_bytes = ABSENT


cdef bint c_gpu_take(c_Slot *slot, const c_GpuTable *table, uint64_t skipped_ns) noexcept nogil:
    """Account for a new look; false when there is nothing new to show. Under work_lock.

    `skipped_ns` is what the sampler's clock is ahead of CLOCK_MONOTONIC, in tests.
    """
    cdef c_Sum sums
    cdef tm_meter *account = &slot.account
    cdef uint64_t look_ns = table.look_ns + skipped_ns
    cdef uint64_t since_ns, memory_bytes
    cdef uint64_t begin_ns = account.gpu_monotonic_ns
    cdef double percent
    cdef bint gap, news
    cdef uint32_t n
    if not table.measured or table.gpu_count == 0:
        if slot.gpu_sequence == 0:
            return 0
        c_forget(slot)
        return 1
    if slot.gpu_sequence == table.sequence:
        return 0
    news = slot.gpu_sequence == 0 or slot.gpu_count > 0
    slot.gpu_sequence = table.sequence
    memory_bytes = ABSENT
    percent = UNKNOWN
    for n in range(table.gpu_count):
        if table.gpus[n].memory_measured:
            memory_bytes = 0
        if table.gpus[n].utilization_measured:
            percent = 0.0
    memset(&sums, 0, sizeof(sums))
    if table.live_count > 0:
        c_add_members(slot, &sums, table)
    c_list(slot, &sums, table.gpu_count, &memory_bytes, &percent)
    if begin_ns == 0:
        # It came up since the look before at the earliest.
        begin_ns = max(account.first_monotonic_ns, look_ns - min(table.interval_ns, look_ns))
    since_ns = look_ns - min(begin_ns, look_ns)
    gap = since_ns > table.gap_ns
    slot.gpu_percent = percent
    if percent >= 0.0:
        account.gpu_ns += <uint64_t>(percent / 100.0 * <double>(table.interval_ns if gap else since_ns) + 0.5)
        if account.peak_gpu_percent < percent:
            account.peak_gpu_percent = percent
    if memory_bytes != ABSENT:
        c_integrate_memory(slot, memory_bytes, look_ns, since_ns, gap)
    else:
        # What it held before is not known to last: nothing is billed for what nobody saw.
        account.gpu_memory_bytes = slot.gpu_held_bytes = ABSENT
        account.gpu_monotonic_ns = look_ns
    return news or slot.gpu_count > 0
