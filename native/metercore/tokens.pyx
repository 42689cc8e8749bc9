# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Memory over time in integers: the doubled trapezoid (m0 + m1)·dt in byte-nanoseconds, 128 bits wide.

Doubling keeps the trapezoid integral; 128 bits hold 2**64 bytes for 584 years. Doubles would lose small increments at 1e15.
"""

from libc.stdint cimport uint64_t


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


cdef class Tokens:
    """Integrate memory over time exactly, by the trapezoidal rule over irregular samples."""

    def update(self, uint64_t now_ns, uint64_t memory_bytes):
        """Account `memory_bytes` at monotonic time `now_ns`; the first call only sets the start. Going back adds nothing."""
        if self.begun and now_ns > self.last_ns:
            c_add_trapezoid(&self.low, &self.high, self.last_bytes, memory_bytes, now_ns - self.last_ns)
        if not self.begun or now_ns > self.last_ns:
            self.last_ns = now_ns
        self.last_bytes = memory_bytes
        self.begun = True

    def hold(self, uint64_t now_ns):
        """Go on to `now_ns` with the last value, as over a gap in which nobody looked."""
        if self.begun and now_ns > self.last_ns:
            c_add_trapezoid(&self.low, &self.high, self.last_bytes, self.last_bytes, now_ns - self.last_ns)
            self.last_ns = now_ns

    @property
    def byte_ns2(self):
        """The exact doubled integral in byte-nanoseconds."""
        return c_wide_int(self.low, self.high)

    @property
    def byte_seconds(self):
        """The integral in byte-seconds, rounded once."""
        return c_wide_double(self.low, self.high) / 2e9
