"""What is looked at now and then: open files, pressure, page faults, context switches."""

def count_open_files(pid: int) -> int:
    """Return how many descriptors a process has open. Needs the right to trace it. Raises OSError."""

def read_pressure(path: str) -> float | None:
    """Return "some avg10" of a pressure file in percent; None where the kernel keeps no pressure."""

def read_switches(pid: int) -> tuple[int, int]:
    """Return the (voluntary, involuntary) context switches of one thread or single-threaded process. Raises OSError."""
