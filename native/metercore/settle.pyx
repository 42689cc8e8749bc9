# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Close an account: what the kernel said at the end of a tree, put over what was sampled of it.

CPU is the higher of what was sampled and what the end says (the cgroup's total, or the rusage of everything reaped), so a
published total never falls. Memory that was sampled, of GPUs too, is held up to the end. A tree that nobody sampled, or only
at its first moment, has its largest process's maximum resident size as its last sample: trapezoid from what it held then (from
0 at its start) to that maximum at its end, the source is RSS. For a task of 20 ms this is half its maximum over its life.
"""

from libc.stdint cimport int64_t, uint64_t

from metercore._c.linux cimport _SC_NPROCESSORS_ONLN, sysconf
from metercore._c.meter cimport tm_meter
from metercore.meterpage cimport c_meter_read, c_meter_write
from metercore.reading cimport Reading
from metercore.slots cimport (
    ABSENT,
    MEMORY_RSS,
    SOURCE_CGROUP,
    SOURCE_RUSAGE,
    UNKNOWN,
    c_account_clear,
    c_Shown,
    c_View,
    c_view_clear,
)
from metercore.tokens cimport c_add_trapezoid, c_wide_double

import os

# Nobody looked for longer than this before the end: the account says that it has a hole.
cdef int64_t GAP_NS = 5000000000


cdef void c_hold_gpu_memory(tm_meter *account) noexcept nogil:
    """Hold GPU memory as of the last look up to the end, if that look could tell it."""
    if account.gpu_monotonic_ns == 0 or account.gpu_memory_bytes == ABSENT:
        return
    if account.last_monotonic_ns > account.gpu_monotonic_ns:
        c_add_trapezoid(
            &account.gpu_memory_byte_ns2_low,
            &account.gpu_memory_byte_ns2_high,
            account.gpu_memory_bytes,
            account.gpu_memory_bytes,
            account.last_monotonic_ns - account.gpu_monotonic_ns,
        )
        account.gpu_monotonic_ns = account.last_monotonic_ns


cdef void c_grow_known(uint64_t *count, uint64_t recorded) noexcept nogil:
    """Take over what the shim counted of all it reaped; a tree in which nothing at all happened was not recorded."""
    if recorded > 0 and (count[0] == ABSENT or count[0] < recorded):
        count[0] = recorded


cdef uint64_t c_settle(tm_meter *account, const c_Ending *ending, double online_cores) noexcept nogil:
    """Close the account in place; returns the nanoseconds that the attempt lasted, 0 = unknown."""
    cdef uint64_t final_ns = ending.cgroup_cpu_ns if ending.cgroup_cpu_ns > 0 else ending.reaped_cpu_ns
    cdef uint64_t life_ns = 0
    cdef uint64_t last_bytes = 0
    cdef int64_t since_ns
    cdef double average
    if 0.0 < ending.start_time < ending.end_time:
        life_ns = <uint64_t>((ending.end_time - ending.start_time) * 1e9)
    if final_ns >= account.cpu_ns:
        if ending.cgroup_cpu_ns > 0:
            account.cpu_source = SOURCE_CGROUP
        elif final_ns > 0 and account.tree_cpu_ns == 0:  # nobody reaps what was attached
            account.cpu_source = SOURCE_RUSAGE
        account.cpu_ns = final_ns
    # How long the last value has to be held: since it was taken, or since the start.
    since_ns = account.last_realtime_ns if account.last_realtime_ns > 0 else <int64_t>(ending.start_time * 1e9)
    since_ns = <int64_t>(ending.end_time * 1e9) - since_ns if since_ns > 0 and ending.end_time > 0.0 else 0
    since_ns = max(since_ns, 0)
    if <uint64_t>since_ns > ending.most_held_ns:
        since_ns = <int64_t>ending.most_held_ns
    if since_ns > GAP_NS and account.sample_count > 0:
        account.had_gap = 1
    last_bytes = account.memory_bytes
    if account.sample_count <= 1 and ending.max_rss_bytes > last_bytes:
        last_bytes = ending.max_rss_bytes
        account.memory_source = MEMORY_RSS
        account.sample_count += 1
    c_add_trapezoid(
        &account.memory_byte_ns2_low,
        &account.memory_byte_ns2_high,
        account.memory_bytes,
        last_bytes,
        <uint64_t>since_ns,
    )
    account.memory_bytes = last_bytes
    account.peak_memory_bytes = max(account.peak_memory_bytes, last_bytes)
    account.last_monotonic_ns += <uint64_t>since_ns
    c_hold_gpu_memory(account)
    if ending.end_time > 0.0:
        account.last_realtime_ns = <int64_t>(ending.end_time * 1e9)
    # What the shim's own account says in the end contains everybody; before, it may have been readable only in part.
    if ending.read_bytes != ABSENT and (account.io_read_bytes == ABSENT or account.io_read_bytes < ending.read_bytes):
        account.io_read_bytes = ending.read_bytes
    if ending.write_bytes != ABSENT and (account.io_write_bytes == ABSENT or account.io_write_bytes < ending.write_bytes):
        account.io_write_bytes = ending.write_bytes
    c_grow_known(&account.minor_fault_count, ending.minor_fault_count)
    c_grow_known(&account.major_fault_count, ending.major_fault_count)
    c_grow_known(&account.voluntary_switch_count, ending.voluntary_switch_count)
    c_grow_known(&account.involuntary_switch_count, ending.involuntary_switch_count)
    if life_ns > 0:
        average = min(<double>account.cpu_ns / <double>life_ns, online_cores)
        account.peak_cpu_cores = max(account.peak_cpu_cores, average)
    return life_ns


cdef void c_final_view(
    c_View *view, const tm_meter *account, uint64_t life_ns, double allowed_cores, double online_cores
) noexcept nogil:
    """Put a closed account into a view: peaks are at least what was current, and at least the average."""
    cdef c_Shown *s = &view.shown
    cdef double life = max(<double>life_ns, 1.0)
    cdef double average = min(<double>account.cpu_ns / life, online_cores) if life_ns > 0 else 0.0
    cdef double average_percent = min(100.0 * average / allowed_cores, 100.0)
    if s.cpu_cores == 0.0 and account.peak_cpu_cores <= average:
        s.cpu_cores = average  # no window was closed
        s.cpu_percent = average_percent
    s.peak_cpu_percent = max(s.peak_cpu_percent, min(100.0 * account.peak_cpu_cores / allowed_cores, 100.0))
    s.peak_cpu_percent = max(s.peak_cpu_percent, max(average_percent, s.cpu_percent))
    s.cpu_ns = account.cpu_ns
    s.memory_bytes = account.memory_bytes
    s.peak_memory_bytes = account.peak_memory_bytes
    s.io_read_bytes = account.io_read_bytes
    s.io_write_bytes = account.io_write_bytes
    s.source = <int>account.cpu_source
    s.memory_source = <int>account.memory_source
    s.gap = account.had_gap != 0
    s.measured = account.cpu_source != 0 or account.memory_source != 0
    view.avg_cpu_percent = average_percent
    view.avg_memory_bytes = 0.0
    if life_ns > 0:
        view.avg_memory_bytes = min(
            c_wide_double(account.memory_byte_ns2_low, account.memory_byte_ns2_high) / (2.0 * life),
            <double>account.peak_memory_bytes,
        )
    s.gpu_memory_bytes = account.gpu_memory_bytes
    s.peak_gpu_memory_bytes = account.peak_gpu_memory_bytes
    s.peak_gpu_percent = account.peak_gpu_percent
    s.voluntary_switch_count = account.voluntary_switch_count
    s.involuntary_switch_count = account.involuntary_switch_count
    s.minor_fault_count = account.minor_fault_count
    s.major_fault_count = account.major_fault_count
    s.recent_peak_cpu_percent = max(s.recent_peak_cpu_percent, s.cpu_percent)
    s.recent_peak_memory_bytes = max(s.recent_peak_memory_bytes, s.memory_bytes)
    s.stalled = 0
    view.avg_gpu_memory_bytes = UNKNOWN
    if account.peak_gpu_memory_bytes != ABSENT and life_ns > 0:
        view.avg_gpu_memory_bytes = min(
            c_wide_double(account.gpu_memory_byte_ns2_low, account.gpu_memory_byte_ns2_high) / (2.0 * life),
            <double>account.peak_gpu_memory_bytes,
        )
    view.gpu_memory_byte_ns2_low = account.gpu_memory_byte_ns2_low
    view.gpu_memory_byte_ns2_high = account.gpu_memory_byte_ns2_high
    view.gpu_ns = account.gpu_ns
    view.sample_time = <double>account.last_realtime_ns * 1e-9
    view.memory_byte_ns2_low = account.memory_byte_ns2_low
    view.memory_byte_ns2_high = account.memory_byte_ns2_high
    view.version += 1


cdef int c_fill_ending(
    c_Ending *ending, double start_time, double end_time, reaped_cpu_ns, cgroup_cpu_ns, max_rss_bytes, read_bytes, write_bytes,
    minor_fault_count, major_fault_count, voluntary_switch_count, involuntary_switch_count,
) except -1:
    ending.start_time = start_time
    ending.end_time = end_time
    ending.reaped_cpu_ns = reaped_cpu_ns
    ending.cgroup_cpu_ns = cgroup_cpu_ns
    ending.max_rss_bytes = max_rss_bytes
    ending.read_bytes = ABSENT if read_bytes is None else read_bytes
    ending.write_bytes = ABSENT if write_bytes is None else write_bytes
    ending.most_held_ns = ABSENT
    ending.minor_fault_count = minor_fault_count
    ending.major_fault_count = major_fault_count
    ending.voluntary_switch_count = voluntary_switch_count
    ending.involuntary_switch_count = involuntary_switch_count
    return 0


def settle_files(
    str directory not None,
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
    """Close the account of an attempt that is not open: from its meter page, if it has one, and what is known of its end.

    The page is written; that it cannot be (a full disk) does not change the result.
    """
    cdef tm_meter account
    cdef c_Ending ending
    cdef uint64_t life_ns
    cdef double online = <double>sysconf(_SC_NPROCESSORS_ONLN)
    cdef Reading reading = Reading.__new__(Reading)
    cdef bytes path = os.fsencode(directory + "/meter")
    c_account_clear(&account)
    c_view_clear(&reading.view)
    reading.view.shown.kernel_peak_memory_bytes = kernel_peak_memory_bytes or ABSENT
    c_fill_ending(
        &ending, start_time, end_time, reaped_cpu_ns, cgroup_cpu_ns, max_rss_bytes, read_bytes, write_bytes,
        minor_fault_count, major_fault_count, voluntary_switch_count, involuntary_switch_count,
    )
    c_meter_read(path, &account)
    life_ns = c_settle(&account, &ending, online)
    c_meter_write(path, &account)
    c_final_view(&reading.view, &account, life_ns, online, online)
    return reading
