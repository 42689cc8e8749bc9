# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The changing fields of TaskStatus as protobuf bytes, straight from a view (numbers: protos/taskmeter/v1).

Encoding: https://protobuf.dev/programming-guides/encoding/ — a field with implicit presence is left out when it is zero, where
-0.0 is not zero; an optional one is written whenever it is set. Fields stand in ascending order, as generated code writes them.
"""

from libc.math cimport floor
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from metercore.slots cimport ABSENT, c_Shown, c_View
from metercore.tokens cimport c_add_wide, c_int_wide, c_wide_double

cdef double MIB = 1048576.0
cdef uint64_t MOST = 0x7FFFFFFFFFFFFFFFu


cdef uint8_t *c_varint(uint8_t *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1


cdef uint8_t *c_tag(uint8_t *at, int number, int kind) noexcept nogil:
    return c_varint(at, <uint64_t>((number << 3) | kind))


cdef uint8_t *c_set_int(uint8_t *at, int number, uint64_t value) noexcept nogil:
    # int64 on the wire: what does not fit is shown as the most, rather than as a negative number.
    return c_varint(c_tag(at, number, 0), value if value < MOST else MOST)


cdef uint8_t *c_int(uint8_t *at, int number, uint64_t value) noexcept nogil:
    return c_set_int(at, number, value) if value != 0 else at


cdef uint8_t *c_set_double(uint8_t *at, int number, double value) noexcept nogil:
    at = c_tag(at, number, 1)
    memcpy(at, &value, 8)
    return at + 8


cdef uint8_t *c_double(uint8_t *at, int number, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return c_set_double(at, number, value) if bits != 0 else at


cdef uint8_t *c_text(uint8_t *at, int number, const char *text, size_t size) noexcept nogil:
    if size == 0:
        return at
    at = c_varint(c_tag(at, number, 2), size)
    memcpy(at, text, size)
    return at + size


cdef uint8_t *c_nested(uint8_t *at, int number, const uint8_t *body, size_t size) noexcept nogil:
    at = c_varint(c_tag(at, number, 2), size)
    memcpy(at, body, size)
    return at + size


cdef uint64_t c_rounded(double value) noexcept nogil:
    """Half up; the cast of something beyond int64 would be undefined."""
    return <uint64_t>floor(value + 0.5) if value < 9e18 else MOST


cdef size_t c_metrics(const c_View *view, uint8_t *out) noexcept nogil:
    cdef const c_Shown *s = &view.shown
    cdef uint8_t *at = out
    at = c_double(at, 1, s.cpu_percent)
    at = c_double(at, 2, <double>s.memory_bytes / MIB)
    at = c_double(at, 4, s.peak_cpu_percent)
    at = c_double(at, 5, <double>s.peak_memory_bytes / MIB)
    at = c_double(at, 7, view.avg_cpu_percent)
    at = c_double(at, 8, view.avg_memory_bytes / MIB)
    at = c_double(at, 10, s.cpu_cores)
    at = c_int(at, 11, s.cpu_ns)
    at = c_int(at, 12, s.memory_bytes)
    at = c_int(at, 13, s.peak_memory_bytes)
    if s.io_read_bytes != ABSENT:
        at = c_set_int(at, 14, s.io_read_bytes)
    if s.io_write_bytes != ABSENT:
        at = c_set_int(at, 15, s.io_write_bytes)
    at = c_int(at, 16, <uint64_t>s.process_count)
    at = c_int(at, 17, <uint64_t>s.thread_count)
    at = c_int(at, 21, <uint64_t>s.source)
    at = c_double(at, 22, view.sample_time)
    at = c_double(at, 23, view.interval_seconds)
    at = c_int(at, 24, s.gap)
    if s.pss_bytes != ABSENT:
        at = c_set_int(at, 25, s.pss_bytes)
    if s.kernel_peak_memory_bytes != ABSENT:
        at = c_set_int(at, 26, s.kernel_peak_memory_bytes)
    at = c_int(at, 27, <uint64_t>s.memory_source)
    return <size_t>(at - out)


cdef size_t c_tokens(const c_View *view, const c_Tariff *tariff, uint8_t *out) noexcept nogil:
    cdef uint8_t *at = out
    cdef uint64_t cpu_ns = view.shown.cpu_ns + view.earlier_cpu_ns
    cdef uint64_t low = view.memory_byte_ns2_low
    cdef uint64_t high = view.memory_byte_ns2_high
    cdef double memory, cpu_tokens, memory_tokens
    c_add_wide(&low, &high, view.earlier_byte_ns2_low, view.earlier_byte_ns2_high)
    memory = c_wide_double(low, high)
    # The formulas of taskmeter.model.usage.Tariff, in the same order of operations.
    cpu_tokens = <double>cpu_ns * tariff.per_core_hour / 3600e9
    memory_tokens = memory * tariff.per_gib_hour / (2.0 * 3600e9 * 1073741824.0)
    at = c_double(at, 1, cpu_tokens)
    at = c_double(at, 2, memory_tokens)
    at = c_double(at, 4, cpu_tokens + memory_tokens)
    at = c_text(at, 6, tariff.name, <size_t>tariff.name_bytes)
    at = c_int(at, 7, cpu_ns)
    at = c_double(at, 8, memory / 2e9)
    return <size_t>(at - out)


cdef int c_encode_hot(const c_View *view, const c_Tariff *tariff, unsigned char *out) noexcept nogil:
    """Write fields 11–23, 28, 29, 33 and 34 into HOT_BYTES; the number of bytes."""
    cdef const c_Shown *s = &view.shown
    cdef uint8_t[512] body
    cdef uint8_t *at = out
    at = c_int(at, 11, <uint64_t>s.total_count)
    at = c_int(at, 12, <uint64_t>s.completed_count)
    at = c_int(at, 13, <uint64_t>s.failed_count)
    at = c_int(at, 14, <uint64_t>s.total_size)
    at = c_int(at, 15, <uint64_t>s.completed_size)
    at = c_int(at, 16, <uint64_t>s.failed_size)
    at = c_int(at, 17, c_rounded(s.rate_count_per_second))
    at = c_int(at, 18, c_rounded(s.rate_size_per_second))
    at = c_double(at, 19, s.rate_count_per_second)
    at = c_double(at, 20, s.rate_size_per_second)
    if s.has_eta:
        at = c_set_double(at, 21, s.eta_seconds)
        at = c_set_double(at, 22, s.eta_low_seconds)
        at = c_set_double(at, 23, s.eta_high_seconds)
    at = c_text(at, 28, view.status, view.status_bytes)
    at = c_text(at, 29, view.object, view.object_bytes)
    if s.measured:
        at = c_nested(at, 33, body, c_metrics(view, body))
    at = c_nested(at, 34, body, c_tokens(view, tariff, body))
    return <int>(at - out)


def encode_hot(
    dict values not None,
    *,
    str status not None="",
    str current_object not None="",
    memory_byte_ns2=0,
    uint64_t earlier_cpu_ns=0,
    earlier_memory_byte_ns2=0,
    str tariff not None="",
    double per_core_hour=0.0,
    double per_gib_hour=0.0,
):
    """Encode the hot fields from the given values, named as in `Reading`; what is missing is 0, or absent if it may be.

    This is the oracle's way in: the sampler encodes its slots without Python. Texts are at most 500 bytes of UTF-8.
    """
    cdef c_View view
    cdef c_Tariff prices
    cdef c_Shown *s = &view.shown
    cdef unsigned char[HOT_BYTES] out
    cdef bytes text = status.encode()
    cdef bytes name = current_object.encode()
    cdef bytes label = tariff.encode()
    if len(text) > 500 or len(name) > 500 or len(label) > 128:
        raise ValueError("too long")
    memset(&view, 0, sizeof(view))
    memset(&prices, 0, sizeof(prices))
    s.total_count = values.get("total_count", 0)
    s.completed_count = values.get("completed_count", 0)
    s.failed_count = values.get("failed_count", 0)
    s.total_size = values.get("total_size", 0)
    s.completed_size = values.get("completed_size", 0)
    s.failed_size = values.get("failed_size", 0)
    s.rate_count_per_second = values.get("rate_count_per_second", 0.0)
    s.rate_size_per_second = values.get("rate_size_per_second", 0.0)
    if "eta_seconds" in values:
        s.has_eta = 1
        s.eta_seconds = values["eta_seconds"]
        s.eta_low_seconds = values["eta_low_seconds"]
        s.eta_high_seconds = values["eta_high_seconds"]
    s.measured = 1 if "source" in values else 0
    s.cpu_percent = values.get("cpu_percent", 0.0)
    s.peak_cpu_percent = values.get("peak_cpu_percent", 0.0)
    s.cpu_cores = values.get("cpu_cores", 0.0)
    s.cpu_ns = values.get("cpu_ns", 0)
    s.memory_bytes = values.get("memory_bytes", 0)
    s.peak_memory_bytes = values.get("peak_memory_bytes", 0)
    s.io_read_bytes = values.get("io_read_bytes", ABSENT)
    s.io_write_bytes = values.get("io_write_bytes", ABSENT)
    s.pss_bytes = values.get("pss_bytes", ABSENT)
    s.kernel_peak_memory_bytes = values.get("kernel_peak_memory_bytes", ABSENT)
    s.process_count = values.get("process_count", 0)
    s.thread_count = values.get("thread_count", 0)
    s.source = values.get("source", 0)
    s.memory_source = values.get("memory_source", 0)
    s.gap = values.get("gap", 0)
    view.avg_cpu_percent = values.get("avg_cpu_percent", 0.0)
    view.avg_memory_bytes = values.get("avg_memory_bytes", 0.0)
    view.sample_time = values.get("sample_time", 0.0)
    view.interval_seconds = values.get("interval_seconds", 0.0)
    view.status_bytes = <uint16_t>len(text)
    view.object_bytes = <uint16_t>len(name)
    memcpy(view.status, <const char *>text, view.status_bytes)
    memcpy(view.object, <const char *>name, view.object_bytes)
    view.earlier_cpu_ns = earlier_cpu_ns
    c_int_wide(memory_byte_ns2, &view.memory_byte_ns2_low, &view.memory_byte_ns2_high)
    c_int_wide(earlier_memory_byte_ns2, &view.earlier_byte_ns2_low, &view.earlier_byte_ns2_high)
    memcpy(prices.name, <const char *>label, <size_t>len(label))
    prices.name_bytes = <int>len(label)
    prices.per_core_hour = per_core_hour
    prices.per_gib_hour = per_gib_hour
    return (<char *>out)[: c_encode_hot(&view, &prices, out)]
