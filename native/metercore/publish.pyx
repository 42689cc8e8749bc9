# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From what was sampled to what readers see, with a version that grows when something visible changed."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from metercore._c.meter cimport tm_meter
from metercore._c.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from metercore.clock cimport c_realtime_ns
from metercore.epochs cimport c_epochs_now
from metercore.eta cimport c_eta_now, c_eta_stalled, c_EtaBand
from metercore.rate cimport c_rate_now
from metercore.slots cimport ABSENT, c_GpuUse, c_NOTHING_RARE, c_rare_own, c_Shown, c_Slot, c_View
from metercore.tokens cimport c_wide_double

# Integrals alone make a new version this often.
cdef uint64_t SOFT_NS = 10 * 1000000000u


cdef double c_percent(double cores, double allowed) noexcept nogil:
    return min(100.0 * cores / allowed, 100.0)


cdef void c_publish(c_Slot *slot, const c_Context *context, uint64_t now_ns) noexcept nogil:
    """Copy what readers see; a new version only if something visible changed, or after 10 s for the integrals alone.

    A peak that was shown is in the account from then on.
    """
    cdef c_Shown shown
    cdef c_EtaBand band
    cdef c_View *view = &slot.view
    cdef tm_meter *account = &slot.account
    cdef double elapsed = max(<double>(now_ns - min(account.first_monotonic_ns, now_ns)), 1e6)
    cdef double average = min(<double>account.cpu_ns / elapsed, context.online_cores)
    cdef double now = slot.cores.now_cores
    cdef bint has_total
    cdef double recent
    memset(&shown, 0, sizeof(shown))
    shown.total_count = slot.report.total_count if slot.report.total_count > 0 else slot.spec_total_count
    shown.completed_count = slot.report.completed_count
    shown.failed_count = slot.report.failed_count
    shown.total_size = slot.report.total_size if slot.report.total_size > 0 else slot.spec_total_size
    shown.completed_size = slot.report.completed_size
    shown.failed_size = slot.report.failed_size
    shown.rate_count_per_second = c_rate_now(&slot.rate_count)
    shown.rate_size_per_second = c_rate_now(&slot.rate_size)
    has_total = shown.total_count > 0 or shown.total_size > 0
    c_eta_now(&slot.eta, now_ns, <double>(shown.total_count if shown.total_count > 0 else shown.total_size), &band)
    shown.has_eta = band.known
    shown.stalled = has_total and not band.known and c_eta_stalled(&slot.eta, now_ns)
    shown.eta_seconds = band.seconds
    shown.eta_low_seconds = band.low_seconds
    shown.eta_high_seconds = band.high_seconds
    if slot.cores.peak_cores == 0.0 and now == 0.0 and elapsed < 1e9:
        now = average  # no window has closed yet
    shown.cpu_cores = now
    shown.cpu_percent = c_percent(now, slot.allowed_cores)
    shown.cpu_ns = account.cpu_ns
    shown.memory_bytes = account.memory_bytes
    shown.peak_memory_bytes = account.peak_memory_bytes
    shown.io_read_bytes = account.io_read_bytes
    shown.io_write_bytes = account.io_write_bytes
    shown.pss_bytes = slot.pss_bytes
    shown.kernel_peak_memory_bytes = slot.kernel_peak_bytes
    shown.uss_bytes = slot.uss_bytes
    shown.gpu_memory_bytes = account.gpu_memory_bytes
    shown.peak_gpu_memory_bytes = account.peak_gpu_memory_bytes
    shown.gpu_percent = slot.gpu_percent
    shown.peak_gpu_percent = account.peak_gpu_percent
    shown.gpu_count = slot.gpu_count
    shown.open_file_count = slot.open_file_count
    shown.voluntary_switch_count = account.voluntary_switch_count
    shown.involuntary_switch_count = account.involuntary_switch_count
    shown.minor_fault_count = account.minor_fault_count
    shown.major_fault_count = account.major_fault_count
    shown.cpu_pressure_percent = slot.cpu_pressure_percent
    shown.memory_pressure_percent = slot.memory_pressure_percent
    shown.io_pressure_percent = slot.io_pressure_percent
    shown.process_count = slot.process_count
    shown.thread_count = slot.thread_count
    shown.source = <int32_t>account.cpu_source
    shown.memory_source = <int32_t>account.memory_source
    shown.text_serial = slot.report.text_serial
    shown.ready = slot.report.ready
    shown.gap = now_ns < slot.gap_until_ns
    shown.measured = account.cpu_source != 0 or account.memory_source != 0
    if c_epochs_now(&slot.recent_cores, now_ns, &recent):
        shown.recent_peak_cpu_percent = c_percent(recent, slot.allowed_cores)
    shown.recent_peak_cpu_percent = max(shown.recent_peak_cpu_percent, shown.cpu_percent)
    shown.recent_peak_memory_bytes = shown.memory_bytes
    if c_epochs_now(&slot.recent_memory, now_ns, &recent):
        shown.recent_peak_memory_bytes = max(<uint64_t>recent, shown.memory_bytes)
    pthread_mutex_lock(&slot.view_lock)
    # The average shrinks while a task idles; its peak must not shrink with it, nor with the next daemon.
    account.peak_cpu_cores = max(account.peak_cpu_cores, min(max(average, now), slot.allowed_cores))
    shown.peak_cpu_percent = max(view.shown.peak_cpu_percent, c_percent(account.peak_cpu_cores, slot.allowed_cores))
    if slot.rare != &c_NOTHING_RARE and not c_rare_own(&view.rare):
        shown.gpu_count = 0
        shown.text_serial = view.shown.text_serial  # it is copied once there is memory
    if (
        memcmp(&shown, &view.shown, sizeof(shown)) != 0
        or memcmp(slot.rare.gpus, view.rare.gpus, <size_t>shown.gpu_count * sizeof(c_GpuUse)) != 0
        or memcmp(slot.rare.custom_counts, view.rare.custom_counts, <size_t>slot.tariff.custom_count * sizeof(int64_t)) != 0
        or now_ns >= view.version_ns + SOFT_NS
    ):
        if view.rare != &c_NOTHING_RARE:
            if shown.text_serial != view.shown.text_serial:
                memcpy(&view.rare.text, &slot.rare.text, sizeof(slot.rare.text))
            memcpy(view.rare.gpus, slot.rare.gpus, <size_t>shown.gpu_count * sizeof(c_GpuUse))
            memcpy(view.rare.custom_counts, slot.rare.custom_counts, <size_t>slot.tariff.custom_count * sizeof(int64_t))
        memcpy(&view.shown, &shown, sizeof(shown))
        view.version += 1
        view.version_ns = now_ns
    view.avg_cpu_percent = c_percent(average, slot.allowed_cores)
    view.avg_memory_bytes = min(
        c_wide_double(account.memory_byte_ns2_low, account.memory_byte_ns2_high) / (2.0 * elapsed),
        <double>account.peak_memory_bytes,
    )
    if account.peak_gpu_memory_bytes != ABSENT:
        view.avg_gpu_memory_bytes = min(
            c_wide_double(account.gpu_memory_byte_ns2_low, account.gpu_memory_byte_ns2_high) / (2.0 * elapsed),
            <double>account.peak_gpu_memory_bytes,
        )
    view.gpu_memory_byte_ns2_low = account.gpu_memory_byte_ns2_low
    view.gpu_memory_byte_ns2_high = account.gpu_memory_byte_ns2_high
    view.gpu_ns = account.gpu_ns
    view.sample_time = <double>c_realtime_ns() * 1e-9
    view.interval_seconds = <double>context.interval_ns * 1e-9
    view.memory_byte_ns2_low = account.memory_byte_ns2_low
    view.memory_byte_ns2_high = account.memory_byte_ns2_high
    pthread_mutex_unlock(&slot.view_lock)
