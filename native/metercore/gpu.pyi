"""GPUs and who uses them: a thread of its own asks the driver once a second, and readers get a copy of what it said last."""

import os
from types import TracebackType
from typing import Literal, NamedTuple, Self

SLOWEST_HZ: float
FASTEST_HZ: float
DEFAULT_HZ: float
LIBRARY: str
"""Where NVIDIA's driver has its management library; the environment variable TASKMETER_NVML_LIBRARY names another one."""

class Gpu(NamedTuple):
    """One GPU of this machine, as its driver describes it."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    uuid: str
    """The driver's stable name; empty when it does not tell."""
    name: str
    memory_bytes: int | None
    """All of it; None when the driver does not tell."""
    mig: bool
    """Divided into MIG devices: memory is summed over them, utilisation is not available."""
    lost: bool
    """The driver has lost it; it is looked for again."""
    memory_measured: bool
    utilization_measured: bool

class GpuProcess(NamedTuple):
    """What one process used of one GPU in the last look."""

    pid: int
    """0 = a process of another pid namespace."""
    gpu_index: int
    start_ticks: int
    """As in /proc/PID/stat; 0 = it has gone since."""
    memory_bytes: int | None
    utilization_percent: float | None
    """Of this GPU, 0 to 100, averaged since the look before; None where it cannot be measured."""

class GpuMonitor:
    """Watch all NVIDIA GPUs until `close`; also a context manager.

    There is a thread only if the library loads. Nothing waits for the driver: when it hangs for five intervals, or fails,
    everything is absent until it answers again; then it is connected to anew, after one interval at first and up to 30 later.
    `proc` is for tests: a /proc by which reported pids are mapped as if from another pid namespace. Raises ValueError.
    """

    def __init__(
        self, library: str | os.PathLike[str] | None = None, hz: float = ..., *, proc: str | os.PathLike[str] | None = None
    ) -> None: ...
    @property
    def state(self) -> Literal["absent", "starting", "active", "failed", "hung", "closed"]:
        """Whether GPUs are measured now: only in "active" they are."""
    @property
    def reason(self) -> str | None:
        """Why GPUs are not measured, in the words of the library where it gave any; None while they are."""
    @property
    def gpus(self) -> list[Gpu]:
        """All GPUs, at most 64, by index; empty while nothing is measured."""
    def processes(self) -> list[GpuProcess]:
        """Who uses which GPU, by pid and index; empty while nothing is measured."""
    @property
    def sequence(self) -> int:
        """How many looks succeeded."""
    @property
    def age_seconds(self) -> float | None:
        """How old the values are; None before the first."""
    @property
    def busy_ns(self) -> int:
        """CPU spent in looks so far."""
    def wait(self, seconds: float) -> bool:
        """Wait until a look or a try to connect has ended since the last call of this; False if none does within `seconds`."""
    def close(self) -> None:
        """Stop watching. A thread that hangs in the driver is left to end by itself: this waits for it a second at most."""
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

def probe(library: str | os.PathLike[str] | None = None, seconds: float = 5.0) -> str | None:
    """Try to measure GPUs once; return why that is impossible, or None. Takes up to `seconds` if the driver hangs."""
