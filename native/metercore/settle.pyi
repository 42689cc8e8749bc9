"""Close an account: what the kernel said at the end of a tree, put over what was sampled of it."""

from metercore.reading import Reading

def settle_files(
    directory: str,
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
    """Close the account of an attempt that is not open: from its meter page, if it has one, and what is known of its end.

    The page is written; that it cannot be (a full disk) does not change the result.
    """
