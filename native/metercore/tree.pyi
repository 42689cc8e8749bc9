"""Which processes belong to which root: one pass over /proc, reading the parent of new processes only."""

class ProcessTree:
    """Find the processes below some roots, for tests and tools; the sampler uses the same code without Python."""

    def __init__(self) -> None: ...
    def add_root(self, pid: int, owner: int) -> None:
        """Attribute the descendants of `pid`, which must be a subreaper, to `owner`. Raises ValueError if either is 0."""
    def remove_root(self, pid: int, owner: int) -> None:
        """Attribute nothing more to `owner`."""
    def forget(self, pid: int) -> None:
        """Treat `pid` as somebody new if it is seen again."""
    def sweep(self) -> list[tuple[int, int, int]]:
        """Look once through /proc; return the new members as (owner, pid, start_ticks), ancestors first. Raises OSError."""
    @property
    def stat_count(self) -> int:
        """How many /proc/PID/stat were read so far."""
