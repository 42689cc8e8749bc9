# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What is billed, in integers: times in nanoseconds, and memory over time as the doubled trapezoid (m0 + m1)·dt, 128 bits wide.

Doubling keeps the trapezoid an integer; 128 bits hold 2**63 bytes for 584 years. Doubles would lose small increments at 1e15.
"""

from libc.stdint cimport UINT64_MAX, uint64_t

# With values up to here (m0 + m1)·dt stays below 2**128 over all the time that 64 bits of nanoseconds can hold.
cdef uint64_t MOST_BYTES = <uint64_t>1 << 63


cdef extern from *:
    """
    typedef unsigned __int128 tm_u128;
    #define TM_WIDE(low, high) (((tm_u128)(high) << 64) | (low))
    #define TM_PRODUCT(a, b) ((tm_u128)(a) * (b))
    #define TM_TRAPEZOID(m0, m1, span) (((tm_u128)(m0) + (m1)) * (span))
    #define TM_LOW(wide) ((uint64_t)(wide))
    #define TM_HIGH(wide) ((uint64_t)((wide) >> 64))
    """
    # Cython has no 128-bit type; the declared rank only decides its own conversions, and there are none: see the macros.
    ctypedef unsigned long long tm_u128
    tm_u128 TM_WIDE(uint64_t low, uint64_t high) nogil
    tm_u128 TM_PRODUCT(uint64_t a, uint64_t b) nogil
    tm_u128 TM_TRAPEZOID(uint64_t m0, uint64_t m1, uint64_t span_ns) nogil
    uint64_t TM_LOW(tm_u128 wide) nogil
    uint64_t TM_HIGH(tm_u128 wide) nogil


cdef void c_add_wide(uint64_t *low, uint64_t *high, uint64_t more_low, uint64_t more_high) noexcept nogil:
    cdef tm_u128 sum_ = TM_WIDE(low[0], high[0]) + TM_WIDE(more_low, more_high)
    low[0] = TM_LOW(sum_)
    high[0] = TM_HIGH(sum_)


cdef void c_add_product(uint64_t *low, uint64_t *high, uint64_t a, uint64_t b) noexcept nogil:
    cdef tm_u128 sum_ = TM_WIDE(low[0], high[0]) + TM_PRODUCT(a, b)
    low[0] = TM_LOW(sum_)
    high[0] = TM_HIGH(sum_)


cdef void c_add_trapezoid(uint64_t *low, uint64_t *high, uint64_t m0, uint64_t m1, uint64_t span_ns) noexcept nogil:
    """Add (m0 + m1)·span_ns."""
    cdef tm_u128 sum_ = TM_WIDE(low[0], high[0]) + TM_TRAPEZOID(m0, m1, span_ns)
    low[0] = TM_LOW(sum_)
    high[0] = TM_HIGH(sum_)


cdef double c_wide_double(uint64_t low, uint64_t high) noexcept nogil:
    """The nearest double, as Python's float(int)."""
    return <double>TM_WIDE(low, high)


cdef object c_wide_int(uint64_t low, uint64_t high):
    return (int(high) << 64) | int(low)


cdef int c_int_wide(object value, uint64_t *low, uint64_t *high) except -1:
    if value < 0 or value >> 128:
        raise OverflowError("an integral is 0 to 2**128 - 1")
    low[0] = <uint64_t>(value & 0xFFFFFFFFFFFFFFFF)
    high[0] = <uint64_t>(value >> 64)
    return 0


cdef void c_integral_update(c_Integral *integral, uint64_t now_ns, uint64_t value) noexcept nogil:
    """Add the trapezoid from the last value to this one. Zeroed memory is a new integral; going back adds nothing."""
    if integral.begun and now_ns > integral.last_ns:
        c_add_trapezoid(&integral.low, &integral.high, integral.last_value, value, now_ns - integral.last_ns)
    if not integral.begun or now_ns > integral.last_ns:
        integral.last_ns = now_ns
    integral.last_value = value
    integral.begun = 1


cdef void c_integral_hold(c_Integral *integral, uint64_t now_ns) noexcept nogil:
    """Go on to `now_ns` with the last value, as over a gap in which nobody looked."""
    if integral.begun:
        c_integral_update(integral, now_ns, integral.last_value)


cdef int c_replay(
    c_Integral *integral, const uint64_t *times_ns, const uint64_t *values, size_t count, uint64_t origin_ns
) noexcept nogil:
    """Account `count` samples; -1 without effect if a value or a time is too high."""
    cdef c_Integral after = integral[0]
    cdef uint64_t latest_ns = UINT64_MAX - origin_ns
    cdef uint64_t excess = 0
    cdef size_t n
    for n in range(count):
        excess |= <uint64_t>(values[n] > MOST_BYTES) | <uint64_t>(times_ns[n] > latest_ns)
        c_integral_update(&after, origin_ns + times_ns[n], values[n])
    if excess != 0:
        return -1
    integral[0] = after
    return 0


cdef int c_add_total(uint64_t *total, uint64_t more, str name) except -1:
    if more > UINT64_MAX - total[0]:
        raise OverflowError(f"{name} is at most 2**64 - 1")
    total[0] += more
    return 0


cdef int c_check_bytes(uint64_t value, str name) except -1:
    if value > MOST_BYTES:
        raise ValueError(f"{name} must be at most 2**63")
    return 0


cdef class Tokens:
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

    def __cinit__(
        self,
        *,
        uint64_t cpu_ns=0,
        memory_byte_ns2=0,
        gpu_memory_byte_ns2=0,
        uint64_t gpu_ns=0,
        dict counts=None,
    ):
        self.total_cpu_ns = cpu_ns
        self.total_gpu_ns = gpu_ns
        c_int_wide(memory_byte_ns2, &self.memory.low, &self.memory.high)
        c_int_wide(gpu_memory_byte_ns2, &self.gpu_memory.low, &self.gpu_memory.high)
        self.totals = {}
        for name, count in (counts or {}).items():
            self.add(name, count)

    def add_cpu_ns(self, uint64_t cpu_ns):
        """Add CPU time. Raises OverflowError beyond 2**64 - 1 in all, which is 584 years."""
        c_add_total(&self.total_cpu_ns, cpu_ns, "cpu_ns")

    def add_gpu_ns(self, uint64_t gpu_ns):
        """Add GPU time. Raises OverflowError beyond 2**64 - 1 in all."""
        c_add_total(&self.total_gpu_ns, gpu_ns, "gpu_ns")

    def update_memory(self, uint64_t now_ns, uint64_t memory_bytes):
        """Account that `memory_bytes` are held at monotonic time `now_ns`; the first call only sets the start.

        A time before the last adds nothing, but the value counts from then on. Raises ValueError above 2**63.
        """
        c_check_bytes(memory_bytes, "memory_bytes")
        c_integral_update(&self.memory, now_ns, memory_bytes)

    def update_gpu_memory(self, uint64_t now_ns, uint64_t gpu_memory_bytes):
        """Account that `gpu_memory_bytes` are held at `now_ns`, as `update_memory` does."""
        c_check_bytes(gpu_memory_bytes, "gpu_memory_bytes")
        c_integral_update(&self.gpu_memory, now_ns, gpu_memory_bytes)

    def add(self, str name not None, uint64_t count=1):
        """Add to a counter of one's own. Raises OverflowError beyond 2**64 - 1 in all, ValueError for an empty name."""
        cdef uint64_t total
        if not name:
            raise ValueError("name must not be empty")
        total = self.totals.get(name, 0)
        c_add_total(&total, count, name)
        self.totals[name] = total

    def hold(self, uint64_t now_ns):
        """Go on to `now_ns` with the last values, as over a gap in which nobody looked."""
        c_integral_hold(&self.memory, now_ns)
        c_integral_hold(&self.gpu_memory, now_ns)

    def replay_memory(
        self, const uint64_t[::1] times_ns not None, const uint64_t[::1] memory_bytes not None, uint64_t origin_ns=0
    ):
        """Account many samples at once, each at origin_ns + times_ns, as `update_memory` does one by one.

        Both are buffers of unsigned 64-bit integers, as array("Q"). Raises ValueError, and accounts nothing, when they differ
        in length, when a value is above 2**63 or a time beyond 2**64 - 1. Other threads run meanwhile; none may change them.
        """
        cdef size_t count = <size_t>times_ns.shape[0]
        cdef int error = 0
        if times_ns.shape[0] != memory_bytes.shape[0]:
            raise ValueError("times_ns and memory_bytes must be of one length")
        if count == 0:
            return
        with nogil:
            error = c_replay(&self.memory, &times_ns[0], &memory_bytes[0], count, origin_ns)
        if error != 0:
            raise ValueError("memory_bytes must be at most 2**63, times at most 2**64 - 1")

    def price(self, tariff):
        """Return the `Price` of all this under a tariff; it changes nothing."""
        return tariff.price(self)

    @property
    def cpu_ns(self):
        """CPU time in nanoseconds."""
        return self.total_cpu_ns

    @property
    def gpu_ns(self):
        """GPU time in nanoseconds."""
        return self.total_gpu_ns

    @property
    def memory_byte_ns2(self):
        """The exact doubled integral of memory in byte-nanoseconds."""
        return c_wide_int(self.memory.low, self.memory.high)

    @property
    def memory_byte_seconds(self):
        """The integral of memory in byte-seconds, rounded to a double."""
        return c_wide_double(self.memory.low, self.memory.high) / 2e9

    @property
    def gpu_memory_byte_ns2(self):
        """The exact doubled integral of GPU memory in byte-nanoseconds."""
        return c_wide_int(self.gpu_memory.low, self.gpu_memory.high)

    @property
    def gpu_memory_byte_seconds(self):
        """The integral of GPU memory in byte-seconds, rounded to a double."""
        return c_wide_double(self.gpu_memory.low, self.gpu_memory.high) / 2e9

    @property
    def counts(self):
        """The counters of one's own, a copy."""
        return dict(self.totals)
