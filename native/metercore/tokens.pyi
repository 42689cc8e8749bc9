"""Memory over time in integers: the doubled trapezoid (m0 + m1)·dt in byte-nanoseconds, 128 bits wide."""

class Tokens:
    """Integrate memory over time exactly, by the trapezoidal rule over irregular samples."""

    def update(self, now_ns: int, memory_bytes: int) -> None:
        """Account `memory_bytes` at monotonic time `now_ns`; the first call only sets the start. Going back adds nothing."""
    def hold(self, now_ns: int) -> None:
        """Go on to `now_ns` with the last value, as over a gap in which nobody looked."""
    @property
    def byte_ns2(self) -> int:
        """The exact doubled integral in byte-nanoseconds."""
    @property
    def byte_seconds(self) -> float:
        """The integral in byte-seconds, rounded once."""
