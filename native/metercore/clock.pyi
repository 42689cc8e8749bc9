"""The kernel's clocks in integer nanoseconds."""

def monotonic_ns() -> int:
    """Read CLOCK_MONOTONIC, which stands still while the machine is suspended."""

def boottime_ns() -> int:
    """Read CLOCK_BOOTTIME, which goes on while the machine is suspended; process start times count on it."""

def realtime_ns() -> int:
    """Read CLOCK_REALTIME: nanoseconds since 1970, set by people and time servers."""

def thread_cpu_ns() -> int:
    """Read how much CPU the calling thread has used."""
