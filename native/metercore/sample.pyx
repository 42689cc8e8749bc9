# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One sample of one slot: CPU each tick, the rest when CPU moved, integrals always."""

from libc.errno cimport EACCES
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_RDONLY,
    S_ISREG,
    c_open,
    c_stat,
    close,
    fstat,
    pread,
)
from metercore._c.meter cimport tm_meter
from metercore._c.report cimport TM_REPORT_BYTES, TM_REPORT_CUSTOM_COUNT, TM_REPORT_NAME_BYTES, tm_report
from metercore._c.taskdir cimport TM_MAGIC_PID, TM_VERSION, tm_pid
from metercore.cgroup cimport c_parse_io_stat, c_read_ids
from metercore.clock cimport c_boottime_ns, c_realtime_ns
from metercore.attached cimport c_attached_io, c_attached_start, c_attached_total
from metercore.backend cimport c_Look
from metercore.cpu cimport c_cpu_total
from metercore.crc cimport c_crc32
from metercore.details cimport c_take_details
from metercore.descriptors cimport c_may_keep, c_read_path
from metercore.epochs cimport c_epochs_update
from metercore.eta cimport c_eta_update
from metercore.history cimport c_history_add, c_HistorySample
from metercore.limit cimport c_limit_cores
from metercore.memory cimport c_is_empty, c_memory_held, c_read_counts, c_read_kernel_peak
from metercore.meterpage cimport c_boot_id, c_meter_read, c_meter_store
from metercore.peak cimport c_peak_update
from metercore.procfs cimport c_ProcIo, c_ProcStat, c_read_io, c_read_stat, c_tick_ns
from metercore.publish cimport c_Context, c_publish
from metercore.rate cimport c_rate_now, c_rate_update
from metercore.report cimport c_report_counters, c_report_text
from metercore.reported cimport c_reported_read
from metercore.slots cimport (
    ABSENT,
    HOLD_CGROUP_V1,
    HOLD_CGROUP_V2,
    MEMORY_EXTERNAL,
    SOURCE_CGROUP,
    SOURCE_EXTERNAL,
    SOURCE_NONE,
    c_Member,
    c_member_add,
    c_rare_own,
    c_Slot,
)
from metercore.tokens cimport c_add_trapezoid


cdef extern from *:
    """
    #define TM_PID_CRC_BYTES offsetof(struct tm_pid, crc)
    """
    size_t TM_PID_CRC_BYTES

cdef uint64_t SECOND = 1000000000u
# A young task changes fast and may be short; an old one is looked at once a second when it is busy …
cdef uint64_t MEMORY_SHARE_OF_AGE = 10
# … and everything once in this time although it is idle.
cdef uint64_t SLOW_NS = 10 * 1000000000u
# The kernel gathers a memory cgroup's statistics every two seconds (FLUSH_TIME in mm/memcontrol.c); until then they may lag
# behind by 64 pages for each processor, which can be all that a small task holds.
cdef uint64_t FLUSH_NS = 2100000000u
# Published for so long, that a subscriber at 1 Hz sees it.
cdef uint64_t GAP_SHOWN_NS = 2000000000u
cdef uint64_t SOONEST_PERSIST_NS = 250000000u
# A quota can be as low as 1 ms in 1 s.
cdef double LEAST_CORES = 0.001

cdef enum:
    MOST_IDS = 2048


cdef int64_t c_integrated_realtime(const c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """Up to when memory is integrated, in wall-clock time: from there on whoever settles the account holds the last value."""
    return c_realtime_ns() - <int64_t>(now_ns - min(slot.account.last_monotonic_ns, now_ns))


cdef uint64_t c_in_phase(uint64_t last_ns, uint64_t pause_ns, uint64_t now_ns) noexcept nogil:
    """When it was last due. Counted from now on instead, slots that once meet in a tick stay together, more and more of them."""
    return now_ns - (now_ns - min(last_ns, now_ns)) % pause_ns


cdef void c_persist(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """Write the account to the meter page. That it cannot be written does not stop the metering."""
    cdef char[4200] path
    slot.last_persist_ns = now_ns
    if slot.directory == NULL:
        return
    snprintf(path, 4200, b"%s/meter", slot.directory)
    slot.account.last_realtime_ns = c_integrated_realtime(slot, now_ns)
    c_meter_store(&slot.meter_descriptor, path, &slot.account)


# ------------------------------------------------------------------------------------------------------ first sample


cdef bint c_main_record(c_Slot *slot, tm_pid *record) noexcept nogil:
    """Read what the shim noted of the main process; 0 when it noted nothing, or of another one."""
    cdef char[4200] path
    if slot.directory == NULL:
        return 0
    snprintf(path, 4200, b"%s/pid", slot.directory)
    return (
        c_read_path(path, <char *>record, sizeof(tm_pid)) == <ssize_t>sizeof(tm_pid)
        and record.magic == TM_MAGIC_PID
        and record.version == TM_VERSION
        and record.crc == c_crc32(record, TM_PID_CRC_BYTES)
        and record.pid == slot.main_pid
    )


cdef uint64_t c_started_ns(c_Slot *slot, const tm_pid *record, uint64_t now_ns) noexcept nogil:
    """When the main process began, on the monotonic clock: from its record, else from the kernel (10 ms), else now."""
    cdef c_ProcStat main
    cdef uint64_t boot_ns = c_boottime_ns()
    cdef uint64_t age = 0
    if record != NULL:
        if record.start_boottime_ns < boot_ns:
            age = boot_ns - record.start_boottime_ns
    elif slot.main_pid > 0 and c_read_stat(slot.main_pid, &main) == 0 and main.start_ticks * c_tick_ns < boot_ns:
        age = boot_ns - main.start_ticks * c_tick_ns
    return now_ns - age if age < now_ns else 1


cdef void c_resume(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """Go on from the meter page; the time in which nobody sampled is a gap over which memory is held."""
    cdef tm_meter *account = &slot.account
    cdef tm_meter saved
    cdef tm_pid record
    cdef bint recorded = c_main_record(slot, &record)
    cdef char[40] boot_id
    cdef char[4200] path
    if recorded and slot.main_start_ticks == 0:
        slot.main_start_ticks = record.start_ticks
    c_boot_id(boot_id)
    if slot.directory != NULL:
        snprintf(path, 4200, b"%s/meter", slot.directory)
    if slot.directory != NULL and c_meter_read(path, &saved) == 0:
        account[0] = saved
        account.had_gap = 1
        if memcmp(saved.boot_id, boot_id, 40) != 0:
            # Times of another boot mean nothing here; what was billed stays.
            account.first_monotonic_ns = account.gpu_monotonic_ns = 0
        elif account.last_monotonic_ns < now_ns:
            c_add_trapezoid(
                &account.memory_byte_ns2_low,
                &account.memory_byte_ns2_high,
                account.memory_bytes,
                account.memory_bytes,
                now_ns - account.last_monotonic_ns,
            )
        slot.gap_until_ns = now_ns + GAP_SHOWN_NS
        slot.cores.peak_cores = account.peak_cpu_cores
        slot.memory_total_bytes = account.memory_bytes
        slot.gpu_held_bytes = account.gpu_memory_bytes
        account.gpu_memory_bytes = ABSENT  # until the first look says what it is now
        slot.resumed = 1
    memcpy(account.boot_id, boot_id, 40)
    if account.first_monotonic_ns == 0:
        account.first_monotonic_ns = now_ns if slot.attached else c_started_ns(slot, &record if recorded else NULL, now_ns)
    account.last_monotonic_ns = now_ns


cdef void c_limit(c_Slot *slot, const c_Context *context) noexcept nogil:
    """Read how many cores the main process may use; it keeps those it had when it has gone."""
    if slot.main_pid > 0:
        c_limit_cores(&context.mounts, slot.main_pid, &slot.allowed_cores)
    slot.allowed_cores = max(slot.allowed_cores, LEAST_CORES)


cdef void c_start(c_Slot *slot, const c_Context *context, const c_Look *look, uint64_t now_ns) noexcept nogil:
    """Go on from the meter page, if there is one, and take the first sample."""
    c_resume(slot, now_ns)
    if slot.external:
        slot.account.cpu_source = SOURCE_EXTERNAL
        slot.account.memory_source = MEMORY_EXTERNAL
    elif slot.attached:
        c_attached_start(slot, slot.main_pid, slot.main_start_ticks, c_boottime_ns())
    elif slot.in_tree and slot.main_pid > 0:
        c_member_add(slot, slot.main_pid, slot.main_start_ticks)
    slot.allowed_cores = context.online_cores
    c_limit(slot, context)
    # Spread the slow reads of slots that were opened together, and what is done once a second although they sleep.
    slot.last_slow_ns = now_ns - (<uint64_t>slot.index * 157000000u) % SLOW_NS
    # A page is written after a quarter of a second: an attempt that did not last as long is settled from its end as well.
    slot.last_persist_ns = now_ns
    c_sample(slot, context, look, now_ns, 0, 0, 0)
    slot.last_report_ns = now_ns - (<uint64_t>slot.index * 157000000u) % SECOND


# ----------------------------------------------------------------------------------------------------------- report


cdef void c_open_report(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """The file is the task's: it may be missing, or anything else than a file."""
    cdef c_stat facts
    cdef char[4200] path
    cdef uint64_t age = now_ns - slot.account.first_monotonic_ns
    if now_ns < slot.next_report_try_ns or slot.directory == NULL:
        return
    slot.next_report_try_ns = now_ns + (SECOND // 10 if age < 10 * SECOND else SECOND)
    snprintf(path, 4200, b"%s/task/report", slot.directory)
    slot.report_descriptor = c_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    if slot.report_descriptor >= 0 and (fstat(slot.report_descriptor, &facts) != 0 or not S_ISREG(facts.st_mode)):
        close(slot.report_descriptor)
        slot.report_descriptor = -1


cdef void c_take_custom(c_Slot *slot, const tm_report *block) noexcept nogil:
    """Take those of the work's own counters that have a price.

    Without memory they stay as they were until the next reading. That is what is shown; what is billed in the end is read from
    the block itself, see `Meter.settle`.
    """
    cdef int n, k
    cdef int64_t value
    for n in range(slot.tariff.custom_count):
        for k in range(TM_REPORT_CUSTOM_COUNT):
            if memcmp(block.custom[k].name, slot.tariff.custom[n].name, TM_REPORT_NAME_BYTES) == 0:
                value = max(block.custom[k].value, 0)
                if value != slot.rare.custom_counts[n] and c_rare_own(&slot.rare):
                    slot.rare.custom_counts[n] = value
                break


cdef bint c_copy_report(c_Slot *slot, uint64_t now_ns, char *page) noexcept nogil:
    """Copy the task's own block; 0 when there is none that can be read."""
    cdef ssize_t got
    cdef bint kept = slot.report_descriptor >= 0
    if not kept:
        c_open_report(slot, now_ns)
        if slot.report_descriptor < 0:
            return 0
    got = pread(slot.report_descriptor, page, TM_REPORT_BYTES, 0)
    if not kept and not c_may_keep():
        close(slot.report_descriptor)
        slot.report_descriptor = -1
        slot.next_report_try_ns = 0
    return got == <ssize_t>TM_REPORT_BYTES


cdef void c_read_report(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    cdef char[TM_REPORT_BYTES] page
    cdef bint found = not slot.external and c_copy_report(slot, now_ns, page)
    if slot.reported != NULL:
        if found:
            c_reported_read(slot, page)
        else:
            c_reported_read(slot, NULL)
    elif found and c_report_counters(page, TM_REPORT_BYTES, &slot.report):
        c_take_custom(slot, <const tm_report *>page)
        if (<tm_report *>page).text_serial != slot.report.text_serial:
            if c_rare_own(&slot.rare) and c_report_text(page, TM_REPORT_BYTES, &slot.rare.text):
                slot.report.text_serial = (<tm_report *>page).text_serial


cdef void c_take_report(c_Slot *slot, uint64_t now_ns, bint wanted) noexcept nogil:
    """Read the block if wanted, and let rates and the ETA see how much was done since the last tick."""
    cdef int64_t count, size
    if wanted:
        c_read_report(slot, now_ns)
    # What has failed has been dealt with too: rate and ETA are about the work getting done with.
    count = slot.report.completed_count + slot.report.failed_count
    size = slot.report.completed_size + slot.report.failed_size
    if slot.resumed and slot.rate_count.last_ns == 0:
        slot.seen_count = count  # done while nobody looked: at what rate is not known
        slot.seen_size = size
    # A counter that was reset gives 0, never a negative amount.
    c_rate_update(&slot.rate_count, now_ns, <double>max(count - slot.seen_count, 0))
    c_rate_update(&slot.rate_size, now_ns, <double>max(size - slot.seen_size, 0))
    slot.seen_count = count
    slot.seen_size = size
    if slot.report.total_count > 0 or slot.spec_total_count > 0:
        c_eta_update(&slot.eta, now_ns, <double>count)
    elif slot.report.total_size > 0 or slot.spec_total_size > 0:
        c_eta_update(&slot.eta, now_ns, <double>size)


# --------------------------------------------------------------------------------------------------------------- io


cdef void c_take_io(c_Slot *slot) noexcept nogil:
    """Sum storage IO over the shim and the living; the kernel adds what a reaped child did to its parent (kernel/exit.c)."""
    cdef char[4200] path
    cdef char[8192] text
    cdef int32_t[MOST_IDS] ids
    cdef int32_t count, n
    cdef c_Member *member
    cdef c_ProcIo one
    cdef uint64_t read_bytes = 0
    cdef uint64_t write_bytes = 0
    cdef ssize_t got
    if slot.cgroup_is_v2:
        snprintf(path, 4200, b"%s/io.stat", slot.cgroup)
        got = c_read_path(path, text, 8192)
        if got > 0 and c_parse_io_stat(text, <size_t>got, &read_bytes, &write_bytes):
            c_grow_io(slot, read_bytes, write_bytes)
            return
    # Ancestors first, as for CPU, so that a child that is reaped meanwhile is not counted twice.
    if slot.shim_pid > 0:
        if c_read_io(slot.shim_pid, &one) != 0:
            return
        read_bytes = one.read_bytes
        write_bytes = one.write_bytes
    if slot.in_tree:
        for n in range(slot.member_count):
            member = &slot.members[n]
            if member.io_own_ns != member.own_ns or member.own_ns == 0:  # it ran since
                got = c_read_io(member.pid, &one)
                if got == -EACCES:  # not ours to read, so the sum would be of some only
                    return
                if got != 0:
                    continue
                member.io_own_ns = member.own_ns
                member.read_bytes = one.read_bytes
                member.write_bytes = one.write_bytes
            if slot.attached:
                c_attached_io(slot, member, member.read_bytes, member.write_bytes)
            read_bytes += member.read_bytes
            write_bytes += member.write_bytes
    else:
        snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
        count = min(c_read_ids(path, ids, MOST_IDS), MOST_IDS)
        for n in range(count):
            got = c_read_io(ids[n], &one)
            if got == -EACCES:
                return
            if got == 0:
                read_bytes += one.read_bytes
                write_bytes += one.write_bytes
    if slot.attached:
        read_bytes = <uint64_t>max(<int64_t>read_bytes - slot.read_before_bytes, 0)
        write_bytes = <uint64_t>max(<int64_t>write_bytes - slot.write_before_bytes, 0)
    c_grow_io(slot, read_bytes, write_bytes)


cdef void c_grow_io(c_Slot *slot, uint64_t read_bytes, uint64_t write_bytes) noexcept nogil:
    """Publish a total that is higher, or the first."""
    if slot.account.io_read_bytes == ABSENT or slot.account.io_read_bytes < read_bytes:
        slot.account.io_read_bytes = read_bytes
    if slot.account.io_write_bytes == ABSENT or slot.account.io_write_bytes < write_bytes:
        slot.account.io_write_bytes = write_bytes


# ----------------------------------------------------------------------------------------------------------- memory


cdef void c_hold_memory(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """Integrate up to now with the value last read."""
    c_integrate(slot, slot.account.memory_bytes, now_ns)


cdef void c_integrate(c_Slot *slot, uint64_t memory_bytes, uint64_t now_ns) noexcept nogil:
    """Add the trapezoid from the last value to this one."""
    cdef tm_meter *account = &slot.account
    if now_ns > account.last_monotonic_ns:
        c_add_trapezoid(
            &account.memory_byte_ns2_low,
            &account.memory_byte_ns2_high,
            account.memory_bytes,
            memory_bytes,
            now_ns - account.last_monotonic_ns,
        )
        account.last_monotonic_ns = now_ns
    account.memory_bytes = memory_bytes


cdef void c_take_memory(c_Slot *slot, uint64_t now_ns, bint gap, bint fresh, bint last) noexcept nogil:
    cdef uint64_t held
    cdef int source = 0
    cdef bint first = slot.memory_total_bytes == ABSENT
    slot.last_memory_ns = now_ns
    slot.dirty = 0
    # At its end a tree holds nothing any more; that is not a measurement of its life.
    if last and c_is_empty(slot):
        return
    if not c_memory_held(slot, fresh, &held, &source):
        return
    if gap:
        c_hold_memory(slot, now_ns)
    if first:
        # Before the first value the task held nothing: it began moments ago.
        slot.account.last_monotonic_ns = min(slot.account.first_monotonic_ns, now_ns)
    c_integrate(slot, held, now_ns)
    slot.memory_total_bytes = held
    c_epochs_update(&slot.recent_memory, now_ns, <double>held)
    slot.account.memory_source = <uint32_t>source
    slot.account.sample_count += 1
    if held > slot.account.peak_memory_bytes:
        slot.account.peak_memory_bytes = held
    slot.history.memory_high_bytes = max(slot.history.memory_high_bytes, held)


# ----------------------------------------------------------------------------------------------------------- a tick


cdef void c_take_cpu(
    c_Slot *slot, const c_Context *context, uint64_t total_ns, uint64_t now_ns, bint gap, bint swept
) noexcept nogil:
    """Update the CPU total and its windows."""
    slot.account.cpu_source = <uint32_t>slot.source
    slot.dipped = total_ns < slot.account.cpu_ns
    slot.account.cpu_ns = max(slot.account.cpu_ns, total_ns)
    # Without a cgroup a newcomer's CPU arrives with the sweep that finds it, so only what lies between two sweeps is a
    # window; and not while somebody's time is on its way to who will reap him.
    if slot.source == SOURCE_CGROUP or (swept and not slot.dipped):
        if c_peak_update(&slot.cores, now_ns, slot.account.cpu_ns, context.online_cores, gap) and not gap:
            c_epochs_update(&slot.recent_cores, now_ns, slot.cores.now_cores)
            slot.history.cores_high = max(slot.history.cores_high, slot.cores.now_cores)
        slot.account.peak_cpu_cores = max(slot.account.peak_cpu_cores, slot.cores.peak_cores)


cdef void c_remember(c_Slot *slot, const c_Context *context, uint64_t now_ns, bint gap) noexcept nogil:
    """Once a second, let the history know how things stand."""
    cdef c_HistorySample s
    if slot.directory == NULL:
        return
    s.realtime_ns = c_realtime_ns()
    s.monotonic_ns = now_ns
    s.cpu_ns = slot.account.cpu_ns
    s.memory_bytes = slot.account.memory_bytes
    s.gpu_memory_bytes = slot.view.shown.gpu_memory_bytes
    s.gpu_utilization_percent = slot.view.shown.gpu_percent
    s.rate_count_per_second = slot.view.shown.rate_count_per_second
    s.rate_size_per_second = slot.view.shown.rate_size_per_second
    s.most_cores = context.online_cores
    s.gap = gap
    c_history_add(&slot.history, slot.directory, &s)


cdef bint c_is_quiet(c_Slot *slot, uint64_t now_ns) noexcept nogil:
    """Tell whether nothing that is shown will change before the tree runs again."""
    if slot.dirty or slot.ran or slot.unsettled or slot.cores.now_cores != 0.0 or now_ns < slot.gap_until_ns:
        return 0
    if slot.view.shown.has_eta and slot.view.shown.eta_seconds != 0.0:  # it may stall
        return 0
    return c_rate_now(&slot.rate_count) == 0.0 and c_rate_now(&slot.rate_size) == 0.0


cdef void c_sample_external(c_Slot *slot, const c_Context *context, uint64_t now_ns, bint last) noexcept nogil:
    """Take a sample of work that runs elsewhere: of what was reported about it."""
    cdef bint first = slot.last_tick_ns == 0
    cdef bint gap = not first and now_ns > slot.last_tick_ns + context.gap_ns + (context.late_ns if slot.quiet else 0)
    cdef bint wants_report = first or last or now_ns >= slot.last_report_ns + SECOND
    slot.last_tick_ns = now_ns
    if slot.quiet and not wants_report and not gap:
        return
    slot.dirty = 0
    if gap:
        slot.gap_until_ns = now_ns + GAP_SHOWN_NS
    c_take_report(slot, now_ns, wants_report)
    if wants_report:
        slot.last_report_ns = c_in_phase(slot.last_report_ns, SECOND, now_ns)
    c_publish(slot, context, now_ns)
    if first or last or gap or now_ns >= slot.history.due_ns:
        c_remember(slot, context, now_ns, gap)
    slot.quiet = c_is_quiet(slot, now_ns)


cdef void c_sample(
    c_Slot *slot, const c_Context *context, const c_Look *look, uint64_t now_ns, bint swept, bint asleep, bint last
) noexcept nogil:
    """Take one sample at `now_ns`; the caller holds work_lock.

    `swept`: new processes were just looked for. `asleep`: the cgroup around the tree's own did not run since the last one; then
    nothing of the tree is read but every ten seconds, since only who runs can change it.
    `last`: everything, whether it is due or not.
    """
    cdef uint64_t age, pause
    cdef bint first = slot.last_tick_ns == 0
    cdef uint64_t late_ns = context.late_ns if slot.quiet else 0
    cdef bint gap = not first and now_ns > slot.last_tick_ns + context.gap_ns + late_ns
    cdef bint slow = now_ns >= slot.last_slow_ns + SLOW_NS
    cdef bint wants_report = first or last or now_ns >= slot.last_report_ns + SECOND
    cdef uint64_t total_ns = 0
    cdef bint known, ran, active
    if slot.external:
        c_sample_external(slot, context, now_ns, last)
        return
    asleep = asleep and slot.quiet and not slow and not gap and not last
    if last:
        slot.reaped_due = 1
    if slot.attached:
        swept = swept or not slot.descendants  # alone, it has nobody to be looked for
        known = c_attached_total(slot, look, swept or last, &total_ns)
    else:
        known = not asleep and c_cpu_total(slot, look, swept or last, &total_ns)
    ran = known and slot.ran
    if asleep or (slot.quiet and not ran and not wants_report and not gap):
        # A sleeping task costs one read per tick, or none, and shows once a second that it still sleeps.
        slot.cores.window_start_ns = now_ns
        if not wants_report:
            slot.last_tick_ns = now_ns
            return
    age = now_ns - min(slot.account.first_monotonic_ns, now_ns)
    pause = min(max(age // MEMORY_SHARE_OF_AGE, context.interval_ns), SECOND)
    if first and not known and slot.source == SOURCE_CGROUP and slot.shim_pid > 0:
        # The cgroup cannot be read after all: fall back to its processes.
        slot.source = SOURCE_NONE
        slot.in_tree = 1
        slot.parent = -1
        if slot.main_pid > 0:
            c_member_add(slot, slot.main_pid, slot.main_start_ticks)
        known = c_cpu_total(slot, look, 1, &total_ns)
    if known:
        c_take_cpu(slot, context, total_ns, now_ns, gap, swept)
    if gap:
        slot.account.had_gap = 1
        slot.gap_until_ns = now_ns + GAP_SHOWN_NS
    if not slot.dirty and not first:
        c_hold_memory(slot, slot.last_tick_ns)  # it slept up to there
    if ran or first:
        slot.last_ran_ns = now_ns
        slot.unsettled = slot.hold == HOLD_CGROUP_V1 or slot.hold == HOLD_CGROUP_V2
    elif slot.unsettled and now_ns >= slot.last_ran_ns + FLUSH_NS:
        slot.unsettled = 0
        slot.dirty = 1
    if ran:
        slot.dirty = 1
        slot.pss_stale = 1
        slot.uss_stale = 1
    slot.last_tick_ns = now_ns
    active = slot.dirty
    c_take_report(slot, now_ns, ran or (wants_report and not asleep))
    if ran or wants_report:
        slot.last_report_ns = c_in_phase(slot.last_report_ns, SECOND, now_ns)
    # Half an interval early is on time: ticks jitter.
    if first or last or slow or (slot.dirty and now_ns + context.interval_ns // 2 >= slot.last_memory_ns + pause):
        c_take_memory(slot, now_ns, gap, slow, last)
        if not slot.in_tree and not last:
            c_read_counts(slot)
        if first or last or slow or now_ns + context.interval_ns // 2 >= slot.last_io_ns + SECOND:
            slot.last_io_ns = now_ns
            c_take_io(slot)
            c_take_details(slot, now_ns, first or active, last)
    elif gap or not slot.dirty:
        c_hold_memory(slot, now_ns)
    if slow and not last:
        slot.last_slow_ns = c_in_phase(slot.last_slow_ns, SLOW_NS, now_ns)
        if active:  # else nothing is shown in percent of it
            c_limit(slot, context)
        c_read_kernel_peak(slot)
    pause = min(max(age // 4, SOONEST_PERSIST_NS), SECOND)
    if now_ns >= slot.last_persist_ns + pause and (slot.dirty or ran or slow):
        c_persist(slot, now_ns)
    c_publish(slot, context, now_ns)
    if first or last or gap or now_ns >= slot.history.due_ns:
        c_remember(slot, context, now_ns, gap)
    slot.quiet = c_is_quiet(slot, now_ns)
