"""Parsers of /proc/PID text over byte buffers, and their readers."""

from typing import NamedTuple

class ProcStat(NamedTuple):
    """What is metered of /proc/PID/stat; ticks are those of sysconf(_SC_CLK_TCK)."""

    pid: int
    ppid: int
    state: str
    cpu_ticks: int
    children_cpu_ticks: int
    thread_count: int
    start_ticks: int
    rss_pages: int

class ProcMemory(NamedTuple):
    """Memory of one process in bytes: resident (from status) or proportional (from smaps_rollup)."""

    anonymous_bytes: int
    file_bytes: int
    shared_bytes: int
    swap_bytes: int

class ProcIo(NamedTuple):
    """Bytes that a process caused to be fetched from and sent to storage."""

    read_bytes: int
    write_bytes: int

def parse_stat(text: bytes) -> ProcStat:
    """Parse the text of /proc/PID/stat. Raises ValueError when it is malformed."""

def parse_statm(text: bytes) -> tuple[int, int]:
    """Parse the text of /proc/PID/statm to (resident_pages, shared_pages). Raises ValueError when it is malformed."""

def parse_status(text: bytes) -> ProcMemory:
    """Parse the memory lines of /proc/PID/status. Raises ValueError when they are missing, as for a zombie."""

def parse_rollup(text: bytes) -> ProcMemory:
    """Parse the proportional sizes of /proc/PID/smaps_rollup. Raises ValueError when they are missing."""

def parse_io(text: bytes) -> ProcIo:
    """Parse the text of /proc/PID/io. Raises ValueError when it is malformed."""

def read_stat(pid: int) -> ProcStat:
    """Read and parse /proc/PID/stat. Raises OSError."""

def read_memory(pid: int) -> ProcMemory:
    """Read resident memory from /proc/PID/status. Raises OSError."""

def read_rollup(pid: int) -> ProcMemory:
    """Read proportional memory from /proc/PID/smaps_rollup: needs the right to trace the process. Raises OSError."""

def read_io(pid: int) -> ProcIo:
    """Read /proc/PID/io: needs the right to trace the process. Raises OSError."""
