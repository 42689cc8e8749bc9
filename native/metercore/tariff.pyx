# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: libraries = m
# distutils: extra_compile_args = -ffp-contract=off
"""What the integrals cost: named, versioned prices in tokens. A change of prices never changes the integrals."""

from libc.math cimport isfinite
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset, strncmp

from metercore.tokens cimport Tokens, c_wide_double

from typing import NamedTuple


cdef int c_tariff_find(const c_Tariff *tariff, const char *name) noexcept nogil:
    """The index of the custom price for a counter's name, NUL padded to 24 bytes; -1 if it costs nothing."""
    cdef int n
    for n in range(tariff.custom_count):
        if strncmp(tariff.custom[n].name, name, CUSTOM_NAME_BYTES) == 0:
            return n
    return -1


cdef void c_price(const c_Tariff *tariff, const c_Integrals *integrals, c_Price *price) noexcept nogil:
    """Price each integral by itself, and sum the parts up in the order in which they stand in c_Price."""
    cdef double memory = c_wide_double(integrals.memory_byte_ns2_low, integrals.memory_byte_ns2_high)
    cdef double gpu_memory = c_wide_double(integrals.gpu_memory_byte_ns2_low, integrals.gpu_memory_byte_ns2_high)
    cdef int n
    # The formulas of taskmeter.model.usage.Tariff, in the same order of operations.
    price.cpu = <double>integrals.cpu_ns * tariff.per_core_hour / 3600e9
    price.memory = memory * tariff.per_gib_hour / (2.0 * 3600e9 * 1073741824.0)
    price.gpu_memory = gpu_memory * tariff.per_gpu_gib_hour / (2.0 * 3600e9 * 1073741824.0)
    price.gpu_time = <double>integrals.gpu_ns * tariff.per_gpu_second / 1e9
    price.total = price.cpu + price.memory + price.gpu_memory + price.gpu_time
    for n in range(tariff.custom_count):
        price.custom[n] = <double>integrals.custom_count[n] * tariff.custom[n].per_unit
        price.total += price.custom[n]


class Price(NamedTuple):
    """Tokens by what they are for; total is the sum of the parts as they are, from left to right."""

    cpu: float
    memory: float
    gpu_memory: float
    gpu_time: float
    custom: dict[str, float]
    total: float


cdef double c_checked(double price, str field) except -1.0:
    if not (isfinite(price) and price >= 0.0):
        raise ValueError(f"{field} must be finite and at least 0")
    return price


cdef bytes c_encoded(str text, str field, int most):
    """UTF-8 of 1 to `most` bytes without NUL."""
    cdef bytes encoded
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field} must be encodable as UTF-8") from error
    if not 1 <= len(encoded) <= most or b"\0" in encoded:
        raise ValueError(f"{field} must have 1 to {most} bytes of UTF-8 and no NUL")
    return encoded


cdef class Tariff:
    """Say what a core-hour, a GiB-hour, a GPU-second and a unit of the work's own cost, in tokens.

    tokens = integral × price ÷ unit, computed in double from the exact integrals, rounding each part by less than 1 in 1e15
    and before no sum. The defaults are 1020 per core-hour, 100 per GiB-hour, 2140 per GiB-hour of GPU memory; 100 tokens
    are 1.00 of a currency. Immutable; equal by value. Raises ValueError, with the field's name, for a price that is negative or
    not finite, a name or version that is empty, a label NAME-VERSION of more than 128 bytes, more than 16 custom prices, and
    a custom name of more than 23 bytes.

    >>> tariff = Tariff("gold", 2, per_core_hour=3600.0, custom={"pages": 0.5})
    >>> tariff.label
    'gold-2'
    >>> from metercore.tokens import Tokens
    >>> price = tariff.price(Tokens(cpu_ns=2 * 10**9, counts={"pages": 3, "unpriced": 9}))
    >>> price.cpu, price.custom, price.total
    (2.0, {'pages': 1.5}, 3.5)
    """

    def __cinit__(
        self,
        str name not None,
        version,
        *,
        double per_core_hour=1020.0,
        double per_gib_hour=100.0,
        double per_gpu_gib_hour=2140.0,
        double per_gpu_second=0.0,
        custom=None,
    ):
        cdef bytes encoded
        cdef c_CustomPrice *one
        self.name = name
        self.version = str(version)
        memset(&self.c, 0, sizeof(self.c))
        c_encoded(self.name, "name", MOST_LABEL_BYTES)
        c_encoded(self.version, "version", MOST_LABEL_BYTES)
        encoded = c_encoded(f"{self.name}-{self.version}", "label", MOST_LABEL_BYTES)
        self.c.label_bytes = <int>len(encoded)
        memcpy(self.c.label, <const char *>encoded, <size_t>len(encoded))
        self.c.per_core_hour = c_checked(per_core_hour, "per_core_hour")
        self.c.per_gib_hour = c_checked(per_gib_hour, "per_gib_hour")
        self.c.per_gpu_gib_hour = c_checked(per_gpu_gib_hour, "per_gpu_gib_hour")
        self.c.per_gpu_second = c_checked(per_gpu_second, "per_gpu_second")
        if custom is not None and len(custom) > MOST_CUSTOM:
            raise ValueError(f"custom must have at most {MOST_CUSTOM} prices")
        prices = [
            (c_encoded(key, f"custom[{key!r}]", CUSTOM_NAME_BYTES - 1), key, per_unit) for key, per_unit in (custom or {}).items()
        ]
        for encoded, key, per_unit in sorted(prices):  # by their bytes, as deterministic protobuf writes a map
            one = &self.c.custom[self.c.custom_count]
            memcpy(one.name, <const char *>encoded, <size_t>len(encoded))
            one.per_unit = c_checked(per_unit, f"custom[{key!r}]")
            self.c.custom_count += 1

    @property
    def label(self):
        """NAME-VERSION, as statuses and bills show it."""
        return f"{self.name}-{self.version}"

    @property
    def per_core_hour(self):
        """Tokens per hour of one CPU core."""
        return self.c.per_core_hour

    @property
    def per_gib_hour(self):
        """Tokens per hour of 2**30 bytes of memory."""
        return self.c.per_gib_hour

    @property
    def per_gpu_gib_hour(self):
        """Tokens per hour of 2**30 bytes of GPU memory."""
        return self.c.per_gpu_gib_hour

    @property
    def per_gpu_second(self):
        """Tokens per second of one GPU in use."""
        return self.c.per_gpu_second

    @property
    def custom(self):
        """Tokens per unit of the counters that have a price, a copy."""
        return {self.c.custom[n].name.decode(): self.c.custom[n].per_unit for n in range(self.c.custom_count)}

    def price(self, Tokens tokens not None):
        """Return what `tokens` has added up costs, part by part; counters without a price cost nothing."""
        cdef c_Integrals integrals
        cdef c_Price price
        cdef dict custom = {}
        cdef int n
        integrals.cpu_ns = tokens.total_cpu_ns
        integrals.gpu_ns = tokens.total_gpu_ns
        integrals.memory_byte_ns2_low = tokens.memory.low
        integrals.memory_byte_ns2_high = tokens.memory.high
        integrals.gpu_memory_byte_ns2_low = tokens.gpu_memory.low
        integrals.gpu_memory_byte_ns2_high = tokens.gpu_memory.high
        names = [self.c.custom[n].name.decode() for n in range(self.c.custom_count)]
        for n in range(self.c.custom_count):
            integrals.custom_count[n] = <uint64_t>tokens.totals.get(names[n], 0)
        c_price(&self.c, &integrals, &price)
        for n in range(self.c.custom_count):
            custom[names[n]] = price.custom[n]
        return Price(price.cpu, price.memory, price.gpu_memory, price.gpu_time, custom, price.total)

    def __eq__(self, other):
        if not isinstance(other, Tariff):
            return NotImplemented
        return c_values(self) == c_values(<Tariff>other)

    def __hash__(self):
        return hash(c_values(self))

    def __repr__(self):
        return (
            f"Tariff({self.name!r}, {self.version!r}, per_core_hour={self.per_core_hour}, per_gib_hour={self.per_gib_hour}, "
            f"per_gpu_gib_hour={self.per_gpu_gib_hour}, per_gpu_second={self.per_gpu_second}, custom={self.custom})"
        )


cdef tuple c_values(Tariff tariff):
    return (
        tariff.name,
        tariff.version,
        tariff.per_core_hour,
        tariff.per_gib_hour,
        tariff.per_gpu_gib_hour,
        tariff.per_gpu_second,
        tuple(tariff.custom.items()),
    )
