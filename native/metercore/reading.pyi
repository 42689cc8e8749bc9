"""What is known of one attempt at one moment, for Python."""

from typing import final

@final
class Reading:
    """What is known of one attempt at one moment: a copy that does not change. Not measurable is None."""

    @property
    def total_count(self) -> int: ...
    @property
    def completed_count(self) -> int: ...
    @property
    def failed_count(self) -> int: ...
    @property
    def total_size(self) -> int: ...
    @property
    def completed_size(self) -> int: ...
    @property
    def failed_size(self) -> int: ...
    @property
    def rate_count_per_second(self) -> float:
        """Items dealt with, completed or failed."""
    @property
    def rate_size_per_second(self) -> float: ...
    @property
    def eta_seconds(self) -> float | None: ...
    @property
    def eta_low_seconds(self) -> float | None: ...
    @property
    def eta_high_seconds(self) -> float | None: ...
    @property
    def status(self) -> str: ...
    @property
    def current_object(self) -> str: ...
    @property
    def ready(self) -> bool: ...
    @property
    def measured(self) -> bool:
        """Whether anything of the processes could be measured."""
    @property
    def cpu_cores(self) -> float:
        """Cores in use over the last window of at least 100 ms."""
    @property
    def cpu_percent(self) -> float:
        """100 · cores ÷ what the task may use; at most 100."""
    @property
    def peak_cpu_percent(self) -> float: ...
    @property
    def avg_cpu_percent(self) -> float: ...
    @property
    def cpu_ns(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def peak_memory_bytes(self) -> int: ...
    @property
    def avg_memory_bytes(self) -> float: ...
    @property
    def memory_byte_ns2(self) -> int:
        """Doubled integral of memory over time."""
    @property
    def io_read_bytes(self) -> int | None: ...
    @property
    def io_write_bytes(self) -> int | None: ...
    @property
    def pss_bytes(self) -> int | None: ...
    @property
    def kernel_peak_memory_bytes(self) -> int | None: ...
    @property
    def uss_bytes(self) -> int | None:
        """Unique set size: what would be freed if the tree ended; only where it is measured at all."""
    @property
    def gpu_memory_bytes(self) -> int | None: ...
    @property
    def peak_gpu_memory_bytes(self) -> int | None: ...
    @property
    def avg_gpu_memory_bytes(self) -> float | None: ...
    @property
    def gpu_utilization_percent(self) -> float | None:
        """Summed over GPUs, 0 to 100 each."""
    @property
    def peak_gpu_utilization_percent(self) -> float | None: ...
    @property
    def gpu_memory_byte_ns2(self) -> int:
        """Doubled integral of GPU memory over time."""
    @property
    def gpu_ns(self) -> int:
        """GPU utilization integrated over time, summed over GPUs."""
    @property
    def gpus(self) -> tuple[tuple[int, int | None, float | None], ...]:
        """Index, bytes and percent of each GPU that the tree uses."""
    @property
    def open_file_count(self) -> int | None: ...
    @property
    def voluntary_switch_count(self) -> int | None: ...
    @property
    def involuntary_switch_count(self) -> int | None: ...
    @property
    def minor_fault_count(self) -> int | None: ...
    @property
    def major_fault_count(self) -> int | None: ...
    @property
    def cpu_pressure_percent(self) -> float | None:
        """Share of the last 10 s in which some thread waited for a processor (PSI some avg10 of the cgroup)."""
    @property
    def memory_pressure_percent(self) -> float | None: ...
    @property
    def io_pressure_percent(self) -> float | None: ...
    @property
    def recent_peak_cpu_percent(self) -> float:
        """The highest of the last 60 to 120 s."""
    @property
    def recent_peak_memory_bytes(self) -> int:
        """The highest of the last 60 to 120 s."""
    @property
    def stalled(self) -> bool:
        """The work counts its progress and has made none for 10 s and for 10 of its usual pauses."""
    @property
    def process_count(self) -> int: ...
    @property
    def thread_count(self) -> int: ...
    @property
    def source(self) -> int:
        """MetricsSource of the contract."""
    @property
    def memory_source(self) -> int:
        """MemorySource of the contract."""
    @property
    def sample_time(self) -> float: ...
    @property
    def interval_seconds(self) -> float: ...
    @property
    def gap(self) -> bool: ...
    @property
    def version(self) -> int: ...
