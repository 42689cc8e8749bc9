"""What a control group says about its members: CPU, memory, processes, limits."""

def parse_cpu_stat(text: bytes) -> int:
    """Return the CPU total in ns of v2 cpu.stat. Raises ValueError when it is malformed."""

def parse_memory_stat(text: bytes, version: int) -> int:
    """Return bytes held according to memory.stat: v2 anon + shmem (swap is a file of its own), v1 with swap.

    Raises ValueError when it is malformed.
    """

def parse_cpu_max(text: bytes) -> float | None:
    """Return the cores that v2 cpu.max allows, or None without a limit."""

def parse_io_stat(text: bytes) -> tuple[int, int]:
    """Return (read_bytes, write_bytes), summed over the devices of v2 io.stat."""

def read_ids(path: str) -> list[int]:
    """Return the ids in a cgroup.procs or cgroup.threads file. Raises OSError."""
