"""How many cores a process may use: quotas of its control groups and all their ancestors, its affinity, what is online.

Quotas: cpu.max (Documentation/admin-guide/cgroup-v2.rst of the kernel) and cpu.cfs_quota_us ÷ cpu.cfs_period_us
(Documentation/scheduler/sched-bwc.rst). Where they lie: proc_pid_mountinfo(5) says which control group shows at a mount point,
which in a container is not the root of the hierarchy.
"""

class CpuLimit:
    """Tell how many cores a process may use, and what share of them some cores are.

    cores = min(lowest quota of its control groups and their ancestors, its main thread's affinity, processors online); 100 % is
    all of that. `pid` 0 is this process; `proc` is where procfs is mounted. Raises OSError, as ProcessLookupError or
    FileNotFoundError for a process that is gone.

    >>> limit = CpuLimit()
    >>> 0.0 < limit.cores <= limit.online_count
    True
    >>> limit.percent(limit.cores / 4)
    25.0
    """

    def __init__(self, pid: int = 0, *, proc: str = "/proc") -> None: ...
    @property
    def pid(self) -> int: ...
    @property
    def affinity_count(self) -> int: ...
    @property
    def online_count(self) -> int: ...
    @property
    def cores(self) -> float:
        """The cores it may use, as of the last refresh."""
    @property
    def quota_cores(self) -> float | None:
        """The lowest quota alone, or None without any."""
    def refresh(self) -> float:
        """Read the limits again, and return `cores`: quotas and affinity can change at any time."""
    def percent(self, cores: float) -> float:
        """Return 100 × cores ÷ the cores it may use, at most 100. Raises ValueError when that is negative or not a number."""

def allowed_cores(pid: int = 0) -> float:
    """Return the cores that a process may use: `CpuLimit(pid).cores`. Raises OSError."""

def quota_cores(pid: int = 0) -> float | None:
    """Return the lowest CPU quota over a process's control groups and their ancestors, in cores; None without any.

    Raises OSError.
    """

def percent(cores: float, allowed: float) -> float:
    """Return 100 × cores ÷ allowed, at most 100: a little more than all is noise of the kernel's accounting.

    Raises ValueError unless cores is at least 0 and allowed greater than 0.

    >>> percent(0.5, 2.0), percent(2.02, 2.0)
    (25.0, 100.0)
    """
