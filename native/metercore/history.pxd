from libc.stdint cimport int64_t, uint32_t, uint64_t

from metercore._c.history cimport TM_HISTORY_TIERS, tm_history_point
from metercore.historyfile cimport c_HistoryStep

cdef enum:
    HISTORY_GROUP = 10       # steps of a second that are written together

cdef struct c_HistorySample:
    int64_t realtime_ns
    uint64_t monotonic_ns
    uint64_t cpu_ns              # total
    uint64_t memory_bytes
    uint64_t gpu_memory_bytes    # ~0 = not measured
    double gpu_utilization_percent   # negative = not measured
    double rate_count_per_second
    double rate_size_per_second
    double most_cores
    bint gap

cdef struct c_History:
    bint begun
    bint has_head            # the file has been begun
    uint64_t due_ns          # monotonic: when the step that is open ends
    double cores_high        # highest since the last sample; the sampler notes them as it goes
    uint64_t memory_high_bytes
    int64_t created_ns       # realtime of step 0
    int64_t offset_ns        # realtime - monotonic, held while the wall clock is set back
    uint64_t age_ns          # up to where it is recorded
    uint64_t last_cpu_ns
    uint64_t last_memory_bytes
    c_HistoryStep[TM_HISTORY_TIERS] steps
    tm_history_point[HISTORY_GROUP] pending   # by index modulo; covers nothing = none

cdef void c_history_add(c_History *history, const char *directory, const c_HistorySample *sample) noexcept nogil
cdef void c_history_flush(c_History *history, const char *directory) noexcept nogil
cdef object c_history_answer(
    const c_History *history, const char *directory, double from_time, double to_time, double resolution_seconds
)

cdef class History:
    cdef c_History c
    cdef bytes directory
