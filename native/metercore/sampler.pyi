"""The sampler: one native thread that meters every open slot at a fixed rate, and what Python may ask of it."""

from collections.abc import Mapping
from typing import NamedTuple

from metercore.gpu import GpuMonitor
from metercore.historyfile import HistoryPoint
from metercore.reading import Reading
from metercore.tariff import Tariff

SLOWEST_HZ: float
FASTEST_HZ: float
VISIT_SHARE: float
DEFAULT_HZ: float
DEFAULT_TARIFF: Tariff

class SamplerStats(NamedTuple):
    """What the sampler itself did and cost since it was made."""

    tick_count: int
    overrun_count: int
    """Ticks that had to be left out because the one before was not done."""
    sweep_count: int
    """Passes over /proc for new processes."""
    sample_count: int
    """Ticks summed over slots."""
    pss_count: int
    """Processes whose proportional memory was read."""
    busy_ns: int
    """CPU spent in ticks."""
    thread_cpu_ns: int
    """CPU of the thread altogether; 0 while none runs."""
    slot_count: int

class Sampler:
    """Meter process trees: `open` gives a handle, everything else asks by it.

    With `start=False` there is no thread and `tick` samples; that is for tests and benchmarks. Handles are never used twice;
    one that was finished raises KeyError. `backend` forces how processes without a cgroup are read, "bpf", "clock" or "procfs";
    "auto" chooses, and chooses anew when one fails. `measure_uss` reads unique set sizes too. Raises ValueError, or OSError for a
    back end that does not work here.
    """

    def __init__(
        self, hz: float = ..., *, start: bool = True, backend: str = "auto", measure_uss: bool = False, visit_share: float = ...
    ) -> None: ...
    def start(self) -> None:
        """Start the thread unless it runs. Signals are blocked in it: they are the main thread's."""
    def close(self) -> None:
        """Stop the thread and persist every account. What is open can still be read and finished."""
    @property
    def hz(self) -> float:
        """Ticks per second."""
    @property
    def backend(self) -> str:
        """What the newest tick read processes without a cgroup with: "bpf", "clock" or "procfs"."""
    def set_hz(self, hz: float) -> None:
        """Tick so often from now on: 0.1 to 20 times a second. Raises ValueError."""
    def watch_gpus(self, monitor: GpuMonitor) -> None:
        """Account for GPUs too, as `monitor` sees them from now on. It is kept, and not closed."""
    def gpu_name(self, index: int) -> tuple[str, str]:
        """Return (uuid, name) of a GPU, ("", "") when it is not known."""
    def tick(self, skip_seconds: float = 0.0) -> None:
        """Sample every slot once, now. Only without a thread. `skip_seconds` lets the monotonic clock jump first.

        Raises RuntimeError while the thread runs, ValueError for a clock that would go back.
        """
    def look(self) -> None:
        """Sample every slot now and in full, whether it is due or not, new processes included. Only without a thread.

        However long the last look is ago, the time since then is no gap. One caller at a time. Raises RuntimeError while the
        thread runs.
        """
    def stats(self) -> SamplerStats:
        """Return what the sampler did and cost so far."""
    def open(
        self,
        shim_pid: int,
        main_pid: int,
        directory: str | None = None,
        *,
        cgroup_v2: str = "",
        cgroup_v1_memory: str = "",
        cgroup_v1_cpuacct: str = "",
        total_count: int = 0,
        total_size: int = 0,
        tariff: Tariff | None = None,
        attached: bool = False,
        include_descendants: bool = True,
        main_start_ticks: int = 0,
        external: bool = False,
    ) -> int:
        """Start metering the tree below `shim_pid`, or go on from the meter page in `directory`; return the handle.

        Without a directory nothing is kept: there is no report block, no meter page and no history. The first sample is taken
        before this returns. CPU is read from `cgroup_v2` or `cgroup_v1_cpuacct` and memory from memory.stat of `cgroup_v2` or
        `cgroup_v1_memory`, as far as they exist, else from processes. Tokens are priced by `tariff`, or by the default one.
        `main_start_ticks` (0 = not known) says with `main_pid` who is meant. `attached`: that process ran before and is not below
        the shim. It is metered from now on, with its descendants if they are included. `external`: there is no process here,
        only what is reported. Raises MemoryError.
        """
    def note_report(self, handle: int) -> None:
        """Have `reported` in the attempt's directory read by the next tick, and from then on. Raises MemoryError."""
    def set_earlier(
        self,
        handle: int,
        cpu_ns: int,
        memory_byte_ns2: int,
        *,
        gpu_memory_byte_ns2: int = 0,
        gpu_ns: int = 0,
        custom: Mapping[str, int] | None = None,
    ) -> None:
        """Add the integrals of earlier attempts to the tokens that `hot` shows. Raises MemoryError, and then adds nothing."""
    def hot(self, handle: int) -> bytes:
        """Return the changing fields of TaskStatus as of the last tick, encoded."""
    def version(self, handle: int) -> int:
        """Return a number that grows when `hot` shows something new."""
    def is_ready(self, handle: int) -> bool:
        """Tell whether the work announced that it is ready."""
    def is_empty(self, handle: int) -> bool:
        """Tell whether nobody of the tree lived at the last tick; zombies do not."""
    def read(self, handle: int) -> Reading:
        """Return what is known as of the last tick. Raises MemoryError."""
    def history(
        self, handle: int, from_time: float = 0.0, to_time: float = 0.0, resolution_seconds: float = 0.0
    ) -> tuple[float, list[HistoryPoint]]:
        """Return what `historyfile.read_history` does, with what is not written yet. Raises ValueError without a directory."""
    def finish(
        self,
        handle: int,
        *,
        start_time: float = 0.0,
        end_time: float = 0.0,
        reaped_cpu_ns: int = 0,
        cgroup_cpu_ns: int = 0,
        max_rss_bytes: int = 0,
        read_bytes: int | None = None,
        write_bytes: int | None = None,
        kernel_peak_memory_bytes: int = 0,
        minor_fault_count: int = 0,
        major_fault_count: int = 0,
        voluntary_switch_count: int = 0,
        involuntary_switch_count: int = 0,
    ) -> Reading:
        """Take the last sample, put over it what is known of the end, persist the account, close the slot; return it all.

        Times are Unix seconds, 0 = unknown; the rest is what the shim recorded of the ended tree.
        """
