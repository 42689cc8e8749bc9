"""All processes of the system in one pass: CPU in nanoseconds, threads, parent, start, memory."""

from typing import NamedTuple

class BpfRow(NamedTuple):
    """One process.

    `start_ticks` is field 22 of /proc/PID/stat. `children_cpu_ns` is of children waited for. `rss_pages` is approximate, see
    `BpfTable.rss_error_pages`. `zombie` means that all its threads have ended. When it is not `whole`, threads of it ended while
    they were read, and `cpu_ns` is to be doubted.
    """

    pid: int
    ppid: int
    thread_count: int
    start_ticks: int
    cpu_ns: int
    children_cpu_ns: int
    rss_pages: int
    zombie: bool
    whole: bool

class BpfTable:
    """The processes of the system, for tests and tools; the sampler uses the same code without Python.

    Raises OSError with the reason of `probe` when this cannot be used here.
    """

    def __init__(self) -> None: ...
    def sweep(self) -> int:
        """Read all processes anew; returns how many. Raises OSError, and ValueError after `close`."""

    def rows(self) -> list[BpfRow]:
        """Return the rows of the last sweep, in the order of the first thread ids."""

    def row(self, pid: int) -> BpfRow | None:
        """Return the row of one process, or None when the last sweep did not meet it."""

    @property
    def task_count(self) -> int:
        """How many threads the last sweep read."""

    @property
    def rss_error_pages(self) -> int:
        """How far `rss_pages` may be off: what all CPUs keep of three counters; before Linux 6.2, what each thread keeps."""

    def close(self) -> None:
        """Give everything back; may be called again."""

def probe() -> str | None:
    """Tell in words why this cannot be used here and what would help; None when it can."""
