"""What is billed, in integers: times in nanoseconds, and memory over time as the doubled trapezoid (m0 + m1)·dt, 128 bits wide.

Doubling keeps the trapezoid an integer; 128 bits hold 2**63 bytes for 584 years. Doubles would lose small increments at 1e15.
"""

from _typeshed import ReadableBuffer

from metercore.tariff import Price, Tariff

class Tokens:
    """Add up what is billed, exactly: CPU and GPU time, memory and GPU memory over time, and counters of one's own.

    Memory is integrated by the trapezoidal rule over irregular samples (W. Press et al., "Numerical Recipes", section 4.1),
    doubled so that it stays an integer. Nothing is rounded before `price`. The arguments go on from earlier integrals.

    >>> tokens = Tokens()
    >>> tokens.add_cpu_ns(90 * 10**9)
    >>> for second, held in enumerate([0, 2**30, 2**30]):
    ...     tokens.update_memory(second * 10**9, held)
    >>> tokens.add("pages", 12)
    >>> tokens.cpu_ns, tokens.memory_byte_seconds / 2**30, tokens.counts
    (90000000000, 1.5, {'pages': 12})
    >>> from metercore.tariff import Tariff
    >>> tokens.price(Tariff("default", 1, custom={"pages": 0.25})).custom
    {'pages': 3.0}
    """

    def __init__(
        self,
        *,
        cpu_ns: int = 0,
        memory_byte_ns2: int = 0,
        gpu_memory_byte_ns2: int = 0,
        gpu_ns: int = 0,
        counts: dict[str, int] | None = None,
    ) -> None: ...
    def add_cpu_ns(self, cpu_ns: int) -> None:
        """Add CPU time. Raises OverflowError beyond 2**64 - 1 in all, which is 584 years."""
    def add_gpu_ns(self, gpu_ns: int) -> None:
        """Add GPU time. Raises OverflowError beyond 2**64 - 1 in all."""
    def update_memory(self, now_ns: int, memory_bytes: int) -> None:
        """Account that `memory_bytes` are held at monotonic time `now_ns`; the first call only sets the start.

        A time before the last adds nothing, but the value counts from then on. Raises ValueError above 2**63.
        """
    def update_gpu_memory(self, now_ns: int, gpu_memory_bytes: int) -> None:
        """Account that `gpu_memory_bytes` are held at `now_ns`, as `update_memory` does."""
    def add(self, name: str, count: int = 1) -> None:
        """Add to a counter of one's own. Raises OverflowError beyond 2**64 - 1 in all, ValueError for an empty name."""
    def hold(self, now_ns: int) -> None:
        """Go on to `now_ns` with the last values, as over a gap in which nobody looked."""
    def replay_memory(self, times_ns: ReadableBuffer, memory_bytes: ReadableBuffer, origin_ns: int = 0) -> None:
        """Account many samples at once, each at origin_ns + times_ns, as `update_memory` does one by one.

        Both are buffers of unsigned 64-bit integers, as array("Q"). Raises ValueError, and accounts nothing, when they differ
        in length, when a value is above 2**63 or a time beyond 2**64 - 1. Other threads run meanwhile; none may change them.
        """
    def price(self, tariff: Tariff) -> Price:
        """Return the `Price` of all this under a tariff; it changes nothing."""
    @property
    def cpu_ns(self) -> int:
        """CPU time in nanoseconds."""
    @property
    def gpu_ns(self) -> int:
        """GPU time in nanoseconds."""
    @property
    def memory_byte_ns2(self) -> int:
        """The exact doubled integral of memory in byte-nanoseconds."""
    @property
    def memory_byte_seconds(self) -> float:
        """The integral of memory in byte-seconds, rounded to a double."""
    @property
    def gpu_memory_byte_ns2(self) -> int:
        """The exact doubled integral of GPU memory in byte-nanoseconds."""
    @property
    def gpu_memory_byte_seconds(self) -> float:
        """The integral of GPU memory in byte-seconds, rounded to a double."""
    @property
    def counts(self) -> dict[str, int]:
        """The counters of one's own, a copy."""
