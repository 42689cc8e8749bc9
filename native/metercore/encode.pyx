# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The changing fields of TaskStatus as protobuf bytes, straight from a view (numbers: protos/taskmeter/v1).

Encoding: https://protobuf.dev/programming-guides/encoding/ — a field with implicit presence is left out when it is zero, where
-0.0 is not zero; an optional one is written whenever it is set. Fields stand in ascending order, as generated code writes them.
"""

from libc.math cimport floor
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from metercore.slots cimport ABSENT, MOST_GPUS, UNKNOWN, c_GpuUse, c_Rare, c_Shown, c_View, c_view_clear
from metercore.tariff cimport CUSTOM_NAME_BYTES, Tariff, c_Integrals, c_price, c_Price
from metercore.tokens cimport c_add_wide, c_int_wide, c_wide_double
from metercore.wire cimport c_double, c_nested, c_set_double, c_tag, c_text, c_varint


cdef extern from "<string.h>" nogil:
    size_t strnlen(const char *text, size_t most)

cdef double MIB = 1048576.0
cdef uint64_t MOST = 0x7FFFFFFFFFFFFFFFu


cdef inline uint8_t *c_set_int(uint8_t *at, int number, uint64_t value) noexcept nogil:
    # int64 on the wire: what does not fit is shown as the most, rather than as a negative number.
    return c_varint(c_tag(at, number, 0), value if value < MOST else MOST)


cdef inline uint8_t *c_int(uint8_t *at, int number, uint64_t value) noexcept nogil:
    return c_set_int(at, number, value) if value != 0 else at


cdef inline uint8_t *c_known_int(uint8_t *at, int number, uint64_t value) noexcept nogil:
    """An optional field: written whenever it is known."""
    return c_set_int(at, number, value) if value != ABSENT else at


cdef inline uint8_t *c_known_double(uint8_t *at, int number, double value) noexcept nogil:
    return c_set_double(at, number, value) if value >= 0.0 else at


cdef inline uint8_t *c_known_mib(uint8_t *at, int number, uint64_t bytes_) noexcept nogil:
    return c_set_double(at, number, <double>bytes_ / MIB) if bytes_ != ABSENT else at


cdef inline uint64_t c_rounded(double value) noexcept nogil:
    """Half up; the cast of something beyond int64 would be undefined."""
    return <uint64_t>floor(value + 0.5) if value < 9e18 else MOST


cdef uint8_t *c_gpu(uint8_t *at, const c_GpuUse *use, const c_GpuNames *names) noexcept nogil:
    cdef uint8_t[256] body
    cdef uint8_t *end = c_int(body, 1, <uint64_t>use.index)
    cdef const c_GpuName *gpu
    if 0 <= use.index < MOST_GPUS:
        gpu = &names.by_index[use.index]
        end = c_text(end, 2, gpu.uuid, strnlen(gpu.uuid, 95))
        end = c_text(end, 3, gpu.name, strnlen(gpu.name, 95))
    end = c_known_int(end, 4, use.memory_bytes)
    end = c_known_double(end, 5, use.percent)
    return c_nested(at, 20, body, <size_t>(end - body))


cdef size_t c_metrics(const c_View *view, const c_GpuNames *names, uint8_t *out) noexcept nogil:
    cdef const c_Shown *s = &view.shown
    cdef uint8_t *at = out
    cdef int n
    at = c_double(at, 1, s.cpu_percent)
    at = c_double(at, 2, <double>s.memory_bytes / MIB)
    at = c_known_mib(at, 3, s.gpu_memory_bytes)
    at = c_double(at, 4, s.peak_cpu_percent)
    at = c_double(at, 5, <double>s.peak_memory_bytes / MIB)
    at = c_known_mib(at, 6, s.peak_gpu_memory_bytes)
    at = c_double(at, 7, view.avg_cpu_percent)
    at = c_double(at, 8, view.avg_memory_bytes / MIB)
    at = c_known_double(at, 9, view.avg_gpu_memory_bytes / MIB)
    at = c_double(at, 10, s.cpu_cores)
    at = c_int(at, 11, s.cpu_ns)
    at = c_int(at, 12, s.memory_bytes)
    at = c_int(at, 13, s.peak_memory_bytes)
    at = c_known_int(at, 14, s.io_read_bytes)
    at = c_known_int(at, 15, s.io_write_bytes)
    at = c_int(at, 16, <uint64_t>s.process_count)
    at = c_int(at, 17, <uint64_t>s.thread_count)
    at = c_known_double(at, 18, s.gpu_percent)
    at = c_known_double(at, 19, s.peak_gpu_percent)
    for n in range(s.gpu_count):
        at = c_gpu(at, &view.rare.gpus[n], names)
    at = c_int(at, 21, <uint64_t>s.source)
    at = c_double(at, 22, view.sample_time)
    at = c_double(at, 23, view.interval_seconds)
    at = c_int(at, 24, s.gap)
    at = c_known_int(at, 25, s.pss_bytes)
    at = c_known_int(at, 26, s.kernel_peak_memory_bytes)
    at = c_int(at, 27, <uint64_t>s.memory_source)
    at = c_known_int(at, 120, s.open_file_count)
    at = c_known_int(at, 121, s.voluntary_switch_count)
    at = c_known_int(at, 122, s.involuntary_switch_count)
    at = c_known_int(at, 123, s.minor_fault_count)
    at = c_known_int(at, 124, s.major_fault_count)
    at = c_known_int(at, 125, s.uss_bytes)
    at = c_known_double(at, 126, s.cpu_pressure_percent)
    at = c_known_double(at, 127, s.memory_pressure_percent)
    at = c_known_double(at, 128, s.io_pressure_percent)
    at = c_double(at, 129, s.recent_peak_cpu_percent)
    at = c_int(at, 130, s.recent_peak_memory_bytes)
    return <size_t>(at - out)


cdef void c_used(const c_View *view, int custom_count, c_Integrals *use) noexcept nogil:
    """What is priced: this attempt and those before it."""
    cdef int n
    use.cpu_ns = view.shown.cpu_ns + view.earlier_cpu_ns
    use.memory_byte_ns2_low = view.memory_byte_ns2_low
    use.memory_byte_ns2_high = view.memory_byte_ns2_high
    c_add_wide(&use.memory_byte_ns2_low, &use.memory_byte_ns2_high, view.earlier_byte_ns2_low, view.earlier_byte_ns2_high)
    use.gpu_memory_byte_ns2_low = view.gpu_memory_byte_ns2_low
    use.gpu_memory_byte_ns2_high = view.gpu_memory_byte_ns2_high
    c_add_wide(
        &use.gpu_memory_byte_ns2_low,
        &use.gpu_memory_byte_ns2_high,
        view.earlier_gpu_byte_ns2_low,
        view.earlier_gpu_byte_ns2_high,
    )
    use.gpu_ns = view.gpu_ns + view.earlier_gpu_ns
    for n in range(custom_count):
        use.custom_count[n] = <uint64_t>view.rare.custom_counts[n] + view.rare.earlier_custom_counts[n]


cdef uint8_t *c_custom(uint8_t *at, const char *name, double tokens) noexcept nogil:
    """One entry of a map<string, double>: unlike elsewhere, key and value are written whatever they are."""
    cdef uint8_t[64] body
    cdef size_t size = strnlen(name, CUSTOM_NAME_BYTES)
    cdef uint8_t *end = c_varint(c_tag(body, 1, 2), size)
    memcpy(end, name, size)
    end = c_set_double(end + size, 2, tokens)
    return c_nested(at, 5, body, <size_t>(end - body))


cdef size_t c_tokens(const c_View *view, const c_Tariff *tariff, uint8_t *out) noexcept nogil:
    cdef uint8_t *at = out
    cdef c_Integrals use
    cdef c_Price price
    cdef int n
    c_used(view, tariff.custom_count, &use)
    c_price(tariff, &use, &price)
    at = c_double(at, 1, price.cpu)
    at = c_double(at, 2, price.memory)
    at = c_double(at, 3, price.gpu_memory)
    at = c_double(at, 4, price.total)
    for n in range(tariff.custom_count):
        at = c_custom(at, tariff.custom[n].name, price.custom[n])
    at = c_text(at, 6, tariff.label, <size_t>tariff.label_bytes)
    at = c_int(at, 7, use.cpu_ns)
    at = c_double(at, 8, c_wide_double(use.memory_byte_ns2_low, use.memory_byte_ns2_high) / 2e9)
    at = c_double(at, 9, c_wide_double(use.gpu_memory_byte_ns2_low, use.gpu_memory_byte_ns2_high) / 2e9)
    at = c_double(at, 10, price.gpu_time)
    at = c_int(at, 11, use.gpu_ns)
    return <size_t>(at - out)


cdef int c_encode_hot(const c_View *view, const c_Tariff *tariff, const c_GpuNames *names, unsigned char *out) noexcept nogil:
    """Write fields 11–23, 28, 29, 33, 34 and 120 into HOT_BYTES; the number of bytes."""
    cdef const c_Shown *s = &view.shown
    cdef uint8_t[6144] body
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
    at = c_text(at, 28, view.rare.text.status, view.rare.text.status_bytes)
    at = c_text(at, 29, view.rare.text.object, view.rare.text.object_bytes)
    if s.measured:
        at = c_nested(at, 33, body, c_metrics(view, names, body))
    at = c_nested(at, 34, body, c_tokens(view, tariff, body))
    at = c_int(at, 120, s.stalled)
    return <int>(at - out)


def encode_hot(
    dict values not None,
    Tariff tariff not None,
    *,
    str status not None="",
    str current_object not None="",
    tuple gpus not None=(),
    dict earlier=None,
):
    """Encode the hot fields from the given values, named as in `Reading`; what is missing is 0, or absent if it may be.

    This is the oracle's way in: the sampler encodes its slots without Python. Texts are at most 500 bytes of UTF-8. `gpus` holds
    (index, uuid, name, memory_bytes, percent); `earlier` the integrals of earlier attempts.
    """
    cdef c_View view
    cdef c_Rare rare
    cdef c_GpuNames names
    cdef c_Shown *s = &view.shown
    cdef unsigned char[HOT_BYTES] out
    cdef bytes text = status.encode()
    cdef bytes name = current_object.encode()
    cdef int n
    if len(text) > 500 or len(name) > 500 or len(gpus) > MOST_GPUS:
        raise ValueError("too long")
    memset(&names, 0, sizeof(names))
    if earlier is None:
        earlier = {}
    c_view_clear(&view)
    memset(&rare, 0, sizeof(rare))
    view.rare = &rare
    get = values.get
    s.total_count = get("total_count", 0)
    s.completed_count = get("completed_count", 0)
    s.failed_count = get("failed_count", 0)
    s.total_size = get("total_size", 0)
    s.completed_size = get("completed_size", 0)
    s.failed_size = get("failed_size", 0)
    s.rate_count_per_second = get("rate_count_per_second", 0.0)
    s.rate_size_per_second = get("rate_size_per_second", 0.0)
    if "eta_seconds" in values:
        s.has_eta = 1
        s.eta_seconds = values["eta_seconds"]
        s.eta_low_seconds = values["eta_low_seconds"]
        s.eta_high_seconds = values["eta_high_seconds"]
    s.stalled = get("stalled", 0)
    s.measured = 1 if "source" in values else 0
    s.cpu_percent = get("cpu_percent", 0.0)
    s.peak_cpu_percent = get("peak_cpu_percent", 0.0)
    s.recent_peak_cpu_percent = get("recent_peak_cpu_percent", 0.0)
    s.cpu_cores = get("cpu_cores", 0.0)
    s.cpu_ns = get("cpu_ns", 0)
    s.memory_bytes = get("memory_bytes", 0)
    s.peak_memory_bytes = get("peak_memory_bytes", 0)
    s.recent_peak_memory_bytes = get("recent_peak_memory_bytes", 0)
    s.io_read_bytes = get("io_read_bytes", ABSENT)
    s.io_write_bytes = get("io_write_bytes", ABSENT)
    s.pss_bytes = get("pss_bytes", ABSENT)
    s.uss_bytes = get("uss_bytes", ABSENT)
    s.kernel_peak_memory_bytes = get("kernel_peak_memory_bytes", ABSENT)
    s.gpu_memory_bytes = get("gpu_memory_bytes", ABSENT)
    s.peak_gpu_memory_bytes = get("peak_gpu_memory_bytes", ABSENT)
    s.gpu_percent = get("gpu_utilization_percent", UNKNOWN)
    s.peak_gpu_percent = get("peak_gpu_utilization_percent", UNKNOWN)
    s.open_file_count = get("open_file_count", ABSENT)
    s.voluntary_switch_count = get("voluntary_switch_count", ABSENT)
    s.involuntary_switch_count = get("involuntary_switch_count", ABSENT)
    s.minor_fault_count = get("minor_fault_count", ABSENT)
    s.major_fault_count = get("major_fault_count", ABSENT)
    s.cpu_pressure_percent = get("cpu_pressure_percent", UNKNOWN)
    s.memory_pressure_percent = get("memory_pressure_percent", UNKNOWN)
    s.io_pressure_percent = get("io_pressure_percent", UNKNOWN)
    s.process_count = get("process_count", 0)
    s.thread_count = get("thread_count", 0)
    s.source = get("source", 0)
    s.memory_source = get("memory_source", 0)
    s.gap = get("gap", 0)
    for n, custom in enumerate(tariff.custom):
        rare.custom_counts[n] = get("custom", {}).get(custom, 0)
        rare.earlier_custom_counts[n] = earlier.get("custom", {}).get(custom, 0)
    for n, gpu in enumerate(gpus):
        rare.gpus[n].index = gpu[0]
        encode_name(names.by_index[rare.gpus[n].index].uuid, gpu[1])
        encode_name(names.by_index[rare.gpus[n].index].name, gpu[2])
        rare.gpus[n].memory_bytes = ABSENT if gpu[3] is None else gpu[3]
        rare.gpus[n].percent = UNKNOWN if gpu[4] is None else gpu[4]
    s.gpu_count = <int>len(gpus)
    view.avg_cpu_percent = get("avg_cpu_percent", 0.0)
    view.avg_memory_bytes = get("avg_memory_bytes", 0.0)
    view.avg_gpu_memory_bytes = get("avg_gpu_memory_bytes", UNKNOWN)
    view.sample_time = get("sample_time", 0.0)
    view.interval_seconds = get("interval_seconds", 0.0)
    rare.text.status_bytes = <uint16_t>len(text)
    rare.text.object_bytes = <uint16_t>len(name)
    memcpy(rare.text.status, <const char *>text, rare.text.status_bytes)
    memcpy(rare.text.object, <const char *>name, rare.text.object_bytes)
    c_int_wide(get("memory_byte_ns2", 0), &view.memory_byte_ns2_low, &view.memory_byte_ns2_high)
    c_int_wide(get("gpu_memory_byte_ns2", 0), &view.gpu_memory_byte_ns2_low, &view.gpu_memory_byte_ns2_high)
    view.gpu_ns = get("gpu_ns", 0)
    view.earlier_cpu_ns = earlier.get("cpu_ns", 0)
    c_int_wide(earlier.get("memory_byte_ns2", 0), &view.earlier_byte_ns2_low, &view.earlier_byte_ns2_high)
    c_int_wide(earlier.get("gpu_memory_byte_ns2", 0), &view.earlier_gpu_byte_ns2_low, &view.earlier_gpu_byte_ns2_high)
    view.earlier_gpu_ns = earlier.get("gpu_ns", 0)
    return (<char *>out)[: c_encode_hot(&view, &tariff.c, &names, out)]


cdef int encode_name(char *target, str text) except -1:
    cdef bytes encoded = text.encode()
    if len(encoded) > 95:
        raise ValueError("too long")
    memcpy(target, <const char *>encoded, <size_t>len(encoded))
    return 0
