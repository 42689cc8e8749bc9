from libc.stdint cimport int32_t, uint64_t

cdef enum:
    WINDOW_MARKS = 64   # a power of two: the ring's index is masked
    WINDOW_SLICES = 31  # two neighbouring intervals are longer than a slice, so that 63 of them cover the span

cdef struct c_Mark:
    uint64_t time_ns
    uint64_t total      # amount up to here; only differences count, so it may wrap

cdef struct c_Window:
    uint64_t span_ns
    uint64_t slice_ns
    uint64_t last_ns
    uint64_t total
    int32_t first       # index of the oldest mark: the last one at or before the left edge, or the start
    int32_t count
    c_Mark marks[WINDOW_MARKS]

cdef void c_window_start(c_Window *window, uint64_t span_ns) noexcept nogil
cdef void c_window_update(c_Window *window, uint64_t now_ns, uint64_t amount) noexcept nogil
cdef double c_window_amount(const c_Window *window, uint64_t now_ns) noexcept nogil
cdef double c_window_per_second(const c_Window *window, uint64_t now_ns) noexcept nogil

cdef class RateWindow:
    cdef c_Window c
