from libc.stdint cimport uint32_t, uint64_t

from metercore._c.history cimport tm_history_head, tm_history_point

# A mean in the making: values of `point` are means over its covered_seconds.
cdef struct c_HistoryStep:
    tm_history_point point
    float gpu_memory_seconds       # over which it was measured
    float gpu_utilization_seconds
    bint open

cdef uint32_t c_tier_seconds(int tier) noexcept nogil
cdef uint32_t c_tier_count(int tier) noexcept nogil
cdef uint32_t c_tier_ratio(int tier) noexcept nogil
cdef size_t c_point_offset(int tier, uint32_t index) noexcept nogil
cdef void c_step_open(c_HistoryStep *step, int tier, uint32_t index) noexcept nogil
cdef void c_step_fold(c_HistoryStep *step, const tm_history_point *one) noexcept nogil
cdef void c_head_seal(tm_history_head *head) noexcept nogil
cdef void c_point_seal(tm_history_point *point) noexcept nogil
cdef ssize_t c_history_load(const char *directory, char *image) noexcept nogil
cdef bint c_image_check(char *image, size_t size) noexcept nogil
cdef void c_image_put(char *image, const tm_history_point *point) noexcept nogil
cdef const tm_history_point *c_image_point(const char *image, int tier, uint32_t index) noexcept nogil
cdef bint c_image_newest(const char *image, int tier, uint32_t *index) noexcept nogil
cdef object c_image_answer(char *image, double from_time, double to_time, double resolution_seconds)
