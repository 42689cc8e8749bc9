from libc.stdint cimport int64_t, uint64_t

from metercore._c.meter cimport tm_meter
from metercore.slots cimport c_View

cdef struct c_Ending:
    double start_time           # of the main process, Unix seconds; 0 = unknown
    double end_time             # of the tree; 0 = unknown
    uint64_t reaped_cpu_ns
    uint64_t cgroup_cpu_ns      # 0 = not readable
    uint64_t max_rss_bytes
    uint64_t read_bytes         # ABSENT = not readable
    uint64_t write_bytes
    uint64_t minor_fault_count  # 0 = not recorded; likewise the next
    uint64_t major_fault_count
    uint64_t voluntary_switch_count
    uint64_t involuntary_switch_count
    uint64_t most_held_ns       # bound of how long the last value is held; ABSENT = none

cdef uint64_t c_settle(tm_meter *account, const c_Ending *ending, double online_cores) noexcept nogil
cdef void c_final_view(
    c_View *view, const tm_meter *account, uint64_t life_ns, double allowed_cores, double online_cores
) noexcept nogil
cdef int c_fill_ending(
    c_Ending *ending, double start_time, double end_time, reaped_cpu_ns, cgroup_cpu_ns, max_rss_bytes, read_bytes, write_bytes,
    minor_fault_count, major_fault_count, voluntary_switch_count, involuntary_switch_count,
) except -1
