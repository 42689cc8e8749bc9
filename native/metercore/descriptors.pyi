"""Descriptors kept open between ticks, at most half of RLIMIT_NOFILE; what comes after that is opened, read and closed."""

def kept_count() -> int:
    """Count the descriptors that are kept open now, over all samplers of this process."""

def set_limit(count: int) -> None:
    """Keep at most `count` descriptors from now on; -1 = half of RLIMIT_NOFILE, the default. Open ones stay."""
