# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is known of one attempt at one moment, for Python."""

from libc.stdint cimport uint64_t

from metercore.slots cimport ABSENT, c_rare_free, c_view_clear
from metercore.tokens cimport c_wide_int


cdef object c_optional(uint64_t value):
    return None if value == ABSENT else value


cdef object c_optional_percent(double value):
    return value if value >= 0.0 else None


cdef class Reading:
    """What is known of one attempt at one moment: a copy that does not change."""

    def __cinit__(self):
        c_view_clear(&self.view)

    def __dealloc__(self):
        c_rare_free(&self.view.rare)

    @property
    def total_count(self):
        return self.view.shown.total_count

    @property
    def completed_count(self):
        return self.view.shown.completed_count

    @property
    def failed_count(self):
        return self.view.shown.failed_count

    @property
    def total_size(self):
        return self.view.shown.total_size

    @property
    def completed_size(self):
        return self.view.shown.completed_size

    @property
    def failed_size(self):
        return self.view.shown.failed_size

    @property
    def rate_count_per_second(self):
        return self.view.shown.rate_count_per_second

    @property
    def rate_size_per_second(self):
        return self.view.shown.rate_size_per_second

    @property
    def eta_seconds(self):
        return self.view.shown.eta_seconds if self.view.shown.has_eta else None

    @property
    def eta_low_seconds(self):
        return self.view.shown.eta_low_seconds if self.view.shown.has_eta else None

    @property
    def eta_high_seconds(self):
        return self.view.shown.eta_high_seconds if self.view.shown.has_eta else None

    @property
    def status(self):
        return self.view.rare.text.status[: self.view.rare.text.status_bytes].decode("utf-8", "replace")

    @property
    def current_object(self):
        return self.view.rare.text.object[: self.view.rare.text.object_bytes].decode("utf-8", "replace")

    @property
    def ready(self):
        return self.view.shown.ready != 0

    @property
    def measured(self):
        return self.view.shown.measured != 0

    @property
    def cpu_cores(self):
        return self.view.shown.cpu_cores

    @property
    def cpu_percent(self):
        return self.view.shown.cpu_percent

    @property
    def peak_cpu_percent(self):
        return self.view.shown.peak_cpu_percent

    @property
    def avg_cpu_percent(self):
        return self.view.avg_cpu_percent

    @property
    def cpu_ns(self):
        return self.view.shown.cpu_ns

    @property
    def memory_bytes(self):
        return self.view.shown.memory_bytes

    @property
    def peak_memory_bytes(self):
        return self.view.shown.peak_memory_bytes

    @property
    def avg_memory_bytes(self):
        return self.view.avg_memory_bytes

    @property
    def memory_byte_ns2(self):
        return c_wide_int(self.view.memory_byte_ns2_low, self.view.memory_byte_ns2_high)

    @property
    def io_read_bytes(self):
        return c_optional(self.view.shown.io_read_bytes)

    @property
    def io_write_bytes(self):
        return c_optional(self.view.shown.io_write_bytes)

    @property
    def pss_bytes(self):
        return c_optional(self.view.shown.pss_bytes)

    @property
    def kernel_peak_memory_bytes(self):
        return c_optional(self.view.shown.kernel_peak_memory_bytes)

    @property
    def uss_bytes(self):
        return c_optional(self.view.shown.uss_bytes)

    @property
    def gpu_memory_bytes(self):
        return c_optional(self.view.shown.gpu_memory_bytes)

    @property
    def peak_gpu_memory_bytes(self):
        return c_optional(self.view.shown.peak_gpu_memory_bytes)

    @property
    def avg_gpu_memory_bytes(self):
        return c_optional_percent(self.view.avg_gpu_memory_bytes)

    @property
    def gpu_utilization_percent(self):
        return c_optional_percent(self.view.shown.gpu_percent)

    @property
    def peak_gpu_utilization_percent(self):
        return c_optional_percent(self.view.shown.peak_gpu_percent)

    @property
    def gpu_memory_byte_ns2(self):
        return c_wide_int(self.view.gpu_memory_byte_ns2_low, self.view.gpu_memory_byte_ns2_high)

    @property
    def gpu_ns(self):
        return self.view.gpu_ns

    @property
    def gpus(self):
        return tuple(
            (
                self.view.rare.gpus[n].index,
                c_optional(self.view.rare.gpus[n].memory_bytes),
                c_optional_percent(self.view.rare.gpus[n].percent),
            )
            for n in range(self.view.shown.gpu_count)
        )

    @property
    def open_file_count(self):
        return c_optional(self.view.shown.open_file_count)

    @property
    def voluntary_switch_count(self):
        return c_optional(self.view.shown.voluntary_switch_count)

    @property
    def involuntary_switch_count(self):
        return c_optional(self.view.shown.involuntary_switch_count)

    @property
    def minor_fault_count(self):
        return c_optional(self.view.shown.minor_fault_count)

    @property
    def major_fault_count(self):
        return c_optional(self.view.shown.major_fault_count)

    @property
    def cpu_pressure_percent(self):
        return c_optional_percent(self.view.shown.cpu_pressure_percent)

    @property
    def memory_pressure_percent(self):
        return c_optional_percent(self.view.shown.memory_pressure_percent)

    @property
    def io_pressure_percent(self):
        return c_optional_percent(self.view.shown.io_pressure_percent)

    @property
    def recent_peak_cpu_percent(self):
        return self.view.shown.recent_peak_cpu_percent

    @property
    def recent_peak_memory_bytes(self):
        return self.view.shown.recent_peak_memory_bytes

    @property
    def stalled(self):
        return self.view.shown.stalled != 0

    @property
    def process_count(self):
        return self.view.shown.process_count

    @property
    def thread_count(self):
        return self.view.shown.thread_count

    @property
    def source(self):
        return self.view.shown.source

    @property
    def memory_source(self):
        return self.view.shown.memory_source

    @property
    def sample_time(self):
        return self.view.sample_time

    @property
    def interval_seconds(self):
        return self.view.interval_seconds

    @property
    def gap(self):
        return self.view.shown.gap != 0

    @property
    def version(self):
        return self.view.version
