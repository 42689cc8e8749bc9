"""Proportional and unique set sizes, where they were asked for."""

def read_uss(pid: int) -> tuple[int, int]:
    """Return (proportional, unique) set size of a process in bytes. Needs the right to trace it. Raises OSError."""
