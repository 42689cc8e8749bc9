from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from metercore._c.nvml cimport TM_NVML_TEXT_BYTES, tm_nvml_device
from metercore.nspid cimport c_PidSpace
from metercore.nvml cimport c_Answer, c_Nvml

cdef enum:
    WATCHED_GPUS = 64

# What does not change about a GPU, and what can be measured on it.
cdef struct c_Gpu:
    int32_t index
    uint8_t lost                  # the driver has lost it: nothing is measured
    uint8_t mig                   # it is divided into MIG devices
    uint8_t memory_measured
    uint8_t utilization_measured
    uint64_t memory_bytes         # in all; ABSENT = not told
    char uuid[TM_NVML_TEXT_BYTES]
    char name[TM_NVML_TEXT_BYTES]

# What one process uses of one GPU.
cdef struct c_GpuProcess:
    int32_t pid                   # here; 0 = it lives in another pid namespace
    int32_t gpu                   # index
    uint64_t start_ticks          # 0 = it has gone since
    uint64_t memory_bytes         # ABSENT = not told
    double utilization_percent    # of this GPU, 0 to 100, mean since the look before; -1 = not told

# What the driver said of one process on one GPU, one record per list it stands in.
cdef struct c_Said:
    int32_t pid
    int32_t gpu
    int32_t instance              # MIG device, 0 without MIG; -1 = `value` is utilisation in percent, else memory in bytes
    uint64_t value

# Of the thread that looks; nobody else touches it.
cdef struct c_GpuLook:
    c_Nvml nvml
    c_Answer answer
    c_PidSpace pids
    tm_nvml_device handles[WATCHED_GPUS]  # NULL = cannot be opened
    uint64_t newest_us[WATCHED_GPUS]      # timestamp of the newest utilisation sample seen
    c_Gpu gpus[WATCHED_GPUS]
    uint32_t gpu_count
    uint32_t told_count           # as the driver counts them
    uint32_t lost_count
    c_Said *said
    uint32_t said_count
    uint32_t said_room
    int32_t *reported             # distinct pids, sorted
    uint32_t reported_room
    c_GpuProcess *uses                # sorted by pid, then GPU
    uint32_t use_count
    uint32_t use_room
    const char *what              # the function that failed

cdef int c_discover(c_GpuLook *look) noexcept nogil
cdef int c_look(c_GpuLook *look, uint64_t interval_ns) noexcept nogil
cdef void c_look_free(c_GpuLook *look) noexcept nogil
