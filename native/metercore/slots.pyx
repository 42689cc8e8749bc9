# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The slot table: one slot per attempt that is metered, at an address that never changes while the table lives.

Lock order: work_lock before view_lock. The table's lock is taken alone. No lock but work_lock is held across a system call.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

from metercore._c.meter cimport tm_meter
from metercore._c.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from metercore.descriptors cimport c_keep_closed
from metercore.epochs cimport c_epochs_start
from metercore.eta cimport c_eta_start
from metercore.rate cimport c_rate_start

cdef uint64_t ABSENT = 0xFFFFFFFFFFFFFFFFu
cdef double UNKNOWN = -1.0
cdef double RATE_TAU_SECONDS = 5.0
cdef c_Rare c_NOTHING_RARE
memset(&c_NOTHING_RARE, 0, sizeof(c_Rare))
cdef uint64_t RECENT_NS = 60 * 1000000000u


cdef int c_slots_open(c_Slots *slots) noexcept nogil:
    memset(slots, 0, sizeof(c_Slots))
    return pthread_mutex_init(&slots.lock, NULL)


cdef void c_slots_close(c_Slots *slots) noexcept nogil:
    """Free everything; nobody may use the table any more."""
    cdef uint32_t n
    for n in range(slots.count):
        c_slot_release(slots.all[n])
        pthread_mutex_destroy(&slots.all[n].work_lock)
        pthread_mutex_destroy(&slots.all[n].view_lock)
        free(slots.all[n])
    free(slots.all)
    free(slots.free_list)
    free(slots.open)
    pthread_mutex_destroy(&slots.lock)


cdef int c_more_room(c_Slots *slots) noexcept nogil:
    cdef uint32_t room = slots.room * 2 if slots.room else 64
    cdef void *all_ = realloc(slots.all, room * sizeof(c_Slot *))
    if all_ == NULL:
        return -1
    slots.all = <c_Slot **>all_
    cdef void *free_list = realloc(slots.free_list, room * sizeof(uint32_t))
    if free_list == NULL:
        return -1
    slots.free_list = <uint32_t *>free_list
    cdef void *open_ = realloc(slots.open, room * sizeof(c_Slot *))
    if open_ == NULL:
        return -1
    slots.open = <c_Slot **>open_
    slots.room = room
    return 0


cdef void c_account_clear(tm_meter *account) noexcept nogil:
    """An account of nothing: integrals are 0, what may not be measurable is absent."""
    memset(account, 0, sizeof(tm_meter))
    account.io_read_bytes = account.io_write_bytes = ABSENT
    account.voluntary_switch_count = account.involuntary_switch_count = ABSENT
    account.minor_fault_count = account.major_fault_count = ABSENT
    account.gpu_memory_bytes = account.peak_gpu_memory_bytes = ABSENT
    account.peak_gpu_percent = UNKNOWN


cdef bint c_rare_own(c_Rare **rare) noexcept nogil:
    """Have one that may be written to; 0 without memory."""
    cdef c_Rare *own
    if rare[0] == &c_NOTHING_RARE:
        own = <c_Rare *>calloc(1, sizeof(c_Rare))
        if own == NULL:
            return 0
        rare[0] = own
    return 1


cdef void c_rare_free(c_Rare **rare) noexcept nogil:
    if rare[0] != &c_NOTHING_RARE:
        free(rare[0])
        rare[0] = &c_NOTHING_RARE


cdef bint c_view_copy(c_View *copy, const c_View *view) noexcept nogil:
    """Copy all of a view; 0 without memory, and then what is rare is left out. The caller frees that of the copy."""
    copy[0] = view[0]
    copy.rare = &c_NOTHING_RARE
    if view.rare == &c_NOTHING_RARE:
        return 1
    if not c_rare_own(&copy.rare):
        copy.shown.gpu_count = 0
        return 0
    memcpy(copy.rare, view.rare, sizeof(c_Rare))
    return 1


cdef void c_view_move(c_View *target, c_View *view) noexcept nogil:
    """Copy all of a view that is done with; it keeps nothing rare. The caller frees that of the target."""
    target[0] = view[0]
    view.rare = &c_NOTHING_RARE


cdef void c_view_clear(c_View *view) noexcept nogil:
    """A view in which nothing was measured."""
    memset(view, 0, sizeof(c_View))
    view.rare = &c_NOTHING_RARE
    view.shown.pss_bytes = view.shown.uss_bytes = view.shown.kernel_peak_memory_bytes = ABSENT
    view.shown.io_read_bytes = view.shown.io_write_bytes = ABSENT
    view.shown.gpu_memory_bytes = view.shown.peak_gpu_memory_bytes = ABSENT
    view.shown.gpu_percent = view.shown.peak_gpu_percent = UNKNOWN
    view.shown.open_file_count = ABSENT
    view.shown.voluntary_switch_count = view.shown.involuntary_switch_count = ABSENT
    view.shown.minor_fault_count = view.shown.major_fault_count = ABSENT
    view.shown.cpu_pressure_percent = view.shown.memory_pressure_percent = view.shown.io_pressure_percent = UNKNOWN
    view.avg_gpu_memory_bytes = UNKNOWN


cdef void c_slot_clear(c_Slot *slot) noexcept nogil:
    """Set everything but the locks and the index to that of a slot that is not open."""
    cdef uint32_t index = slot.index
    cdef c_Slot *s = slot
    s.handle = 0
    s.shim_pid = s.main_pid = 0
    s.main_start_ticks = 0
    s.directory = s.cgroup = s.cgroup_memory = NULL
    s.rare = &c_NOTHING_RARE
    s.in_tree = s.cgroup_is_v2 = s.attached = s.external = s.settling = 0
    s.descendants = 1
    s.attached_ticks = s.attached_ns = 0
    s.read_before_bytes = s.write_before_bytes = 0
    s.tariff = NULL
    s.spec_total_count = s.spec_total_size = 0
    s.source = SOURCE_NONE
    s.parent = -1
    s.hold = HOLD_NONE
    s.cpu_descriptor = s.memory_descriptor = s.report_descriptor = s.gone_descriptor = s.meter_descriptor = -1
    c_account_clear(&s.account)
    s.memory_total_bytes = ABSENT
    s.reaped_ns = s.last_total_ns = 0
    s.reaped_minor_faults = s.reaped_major_faults = 0
    s.reaped_voluntary_switches = s.reaped_involuntary_switches = 0
    s.last_detail_ns = 0
    s.no_pressure = 0
    c_epochs_start(&s.recent_cores, RECENT_NS)
    c_epochs_start(&s.recent_memory, RECENT_NS)
    s.gone_serial = 0
    s.members = NULL
    s.member_count = s.member_room = 0
    s.process_count = s.thread_count = 0
    s.dirty = 1
    s.unordered = s.highest_pid = 0
    s.reaped_due = 1
    s.dipped = s.quiet = s.ran = s.wants_pss = s.pss_stale = s.pss_denied = s.resumed = 0
    s.pss_cursor = 0
    s.uss_stale = 1
    s.last_uss_ns = 0
    s.held_cursor = 0
    s.pss_bytes = s.uss_bytes = s.kernel_peak_bytes = s.open_file_count = ABSENT
    s.cpu_pressure_percent = s.memory_pressure_percent = s.io_pressure_percent = UNKNOWN
    s.gpu_count = 0
    s.gpu_percent = UNKNOWN
    s.gpu_held_bytes = ABSENT
    s.gpu_sequence = 0
    s.last_tick_ns = s.last_memory_ns = s.last_io_ns = s.last_slow_ns = s.last_report_ns = 0
    s.last_ran_ns = 0
    s.visit_tick = 0
    s.unsettled = 0
    s.next_report_try_ns = s.last_persist_ns = s.last_pss_ns = s.gap_until_ns = 0
    s.allowed_cores = 1.0
    memset(&s.cores, 0, sizeof(s.cores))
    c_rate_start(&s.rate_count, RATE_TAU_SECONDS)
    c_rate_start(&s.rate_size, RATE_TAU_SECONDS)
    c_eta_start(&s.eta)
    memset(&s.report, 0, sizeof(s.report))
    s.reported = NULL
    s.seen_count = s.seen_size = 0
    memset(&s.history, 0, sizeof(s.history))
    c_view_clear(&s.view)
    s.index = index


cdef c_Slot *c_slot_take(c_Slots *slots) noexcept nogil:
    """Take a cleared slot with a fresh handle; NULL without memory. It is sampled by nobody until it is listed."""
    cdef c_Slot *slot = NULL
    pthread_mutex_lock(&slots.lock)
    if slots.free_count > 0:
        slots.free_count -= 1
        slot = slots.all[slots.free_list[slots.free_count]]
    elif slots.count < slots.room or c_more_room(slots) == 0:
        slot = <c_Slot *>calloc(1, sizeof(c_Slot))
        if slot != NULL:
            slot.index = slots.count
            pthread_mutex_init(&slot.work_lock, NULL)
            pthread_mutex_init(&slot.view_lock, NULL)
            slots.all[slots.count] = slot
            slots.count += 1
    if slot != NULL:
        c_slot_clear(slot)
        slots.generation += 1
        if slots.generation == 0:
            slots.generation = 1
        slot.handle = (<uint64_t>slots.generation << 32) | slot.index
    pthread_mutex_unlock(&slots.lock)
    return slot


cdef int c_slot_list(c_Slots *slots, c_Slot *slot) noexcept nogil:
    """Have the slot sampled from the next tick on."""
    pthread_mutex_lock(&slots.lock)
    slots.open[slots.open_count] = slot
    slots.open_count += 1
    slots.change_count += 1
    pthread_mutex_unlock(&slots.lock)
    return 0


cdef void c_slot_unlist(c_Slots *slots, c_Slot *slot) noexcept nogil:
    cdef uint32_t n
    pthread_mutex_lock(&slots.lock)
    for n in range(slots.open_count):
        if slots.open[n] == slot:
            memmove(&slots.open[n], &slots.open[n + 1], (slots.open_count - n - 1) * sizeof(c_Slot *))
            slots.open_count -= 1
            slots.change_count += 1
            break
    pthread_mutex_unlock(&slots.lock)


cdef void c_slot_give(c_Slots *slots, c_Slot *slot) noexcept nogil:
    """Give a slot back that is released and not listed."""
    pthread_mutex_lock(&slots.lock)
    slots.free_list[slots.free_count] = slot.index
    slots.free_count += 1
    pthread_mutex_unlock(&slots.lock)


cdef c_Slot *c_slot_of(c_Slots *slots, uint64_t handle) noexcept nogil:
    """The slot of a handle; NULL if that was closed. Only the caller who closes can make the answer stale."""
    cdef uint32_t index = <uint32_t>(handle & 0xFFFFFFFFu)
    cdef c_Slot *slot = NULL
    pthread_mutex_lock(&slots.lock)
    if handle != 0 and index < slots.count and slots.all[index].handle == handle:
        slot = slots.all[index]
    pthread_mutex_unlock(&slots.lock)
    return slot


cdef void c_slot_release(c_Slot *slot) noexcept nogil:
    """Close and free what a slot holds; the caller has its work_lock, or is its only user."""
    cdef int32_t n
    c_keep_closed(&slot.cpu_descriptor)
    c_keep_closed(&slot.memory_descriptor)
    c_keep_closed(&slot.report_descriptor)
    c_keep_closed(&slot.gone_descriptor)
    c_keep_closed(&slot.meter_descriptor)
    for n in range(slot.member_count):
        c_member_drop(&slot.members[n])
    free(slot.members)
    free(slot.reported)
    free(slot.directory)
    if slot.cgroup_memory != slot.cgroup:
        free(slot.cgroup_memory)
    free(slot.cgroup)
    c_rare_free(&slot.rare)
    pthread_mutex_lock(&slot.view_lock)
    c_rare_free(&slot.view.rare)
    pthread_mutex_unlock(&slot.view_lock)
    slot.members = NULL
    slot.reported = NULL
    slot.member_count = slot.member_room = 0
    slot.directory = slot.cgroup = slot.cgroup_memory = NULL
    slot.handle = 0


cdef c_Member *c_member_add(c_Slot *slot, int32_t pid, uint64_t start_ticks) noexcept nogil:
    """Append a member unless it is there; NULL without memory."""
    cdef c_Member *more
    cdef c_Member *member
    cdef int32_t n, room
    # Most come with a pid higher than any before, and then are nobody we know.
    for n in range(slot.member_count if pid <= slot.highest_pid else 0):
        if slot.members[n].pid == pid and (slot.members[n].start_ticks == start_ticks or slot.members[n].start_ticks == 0):
            slot.members[n].start_ticks = start_ticks  # it may not have been readable before
            return &slot.members[n]
    if slot.member_count == slot.member_room:
        room = slot.member_room * 2 if slot.member_room else 2
        more = <c_Member *>realloc(slot.members, <size_t>room * sizeof(c_Member))
        if more == NULL:
            return NULL
        slot.members = more
        slot.member_room = room
    if pid < slot.highest_pid:
        slot.unordered = 1
    slot.highest_pid = max(slot.highest_pid, pid)
    member = &slot.members[slot.member_count]
    memset(member, 0, sizeof(c_Member))
    member.pid = pid
    member.start_ticks = start_ticks
    member.descriptor = -1
    member.share = 1.0
    member.state = c'?'
    member.stat_due = 1
    slot.member_count += 1
    return member


cdef void c_member_drop(c_Member *member) noexcept nogil:
    c_keep_closed(&member.descriptor)
