"""Declarations of shim/taskdir.h: the records that the sampler reads."""

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "shim/taskdir.h" nogil:
    uint32_t TM_VERSION
    uint32_t TM_PAGE
    uint64_t TM_MAGIC_PID
    uint64_t TM_MAGIC_GONE
    uint32_t TM_GONE_SLOT_BYTES

    struct tm_pid:
        uint64_t magic
        uint32_t version
        int32_t pid
        uint64_t incarnation
        uint64_t start_ticks
        uint64_t start_realtime_ns
        uint64_t start_boottime_ns
        uint32_t crc

    struct tm_gone:
        uint64_t magic
        uint32_t version
        uint32_t serial
        uint64_t incarnation
        uint32_t final "final"
        uint32_t reaped_count
        uint64_t reaped_user_ns
        uint64_t reaped_system_ns
        uint64_t reaped_max_rss_bytes
        uint64_t reaped_minor_faults
        uint64_t reaped_major_faults
        uint64_t reaped_voluntary_switches
        uint64_t reaped_involuntary_switches
        uint64_t end_realtime_ns
        uint64_t end_boottime_ns
        uint64_t cgroup_cpu_ns
        uint64_t cgroup_user_ns
        uint64_t cgroup_system_ns
        uint64_t cgroup_peak_memory_bytes
        uint64_t read_bytes
        uint64_t write_bytes
        uint32_t crc
