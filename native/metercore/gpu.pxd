from libc.stdint cimport int32_t, uint32_t, uint64_t

from metercore._c.pthread cimport pthread_cond_t, pthread_mutex_t, pthread_t
from metercore.gpulook cimport WATCHED_GPUS, c_Gpu, c_GpuProcess, c_GpuLook
from metercore.nvml cimport REASON_BYTES

cdef enum:
    GPU_ABSENT = 0       # there is no library, and no thread
    GPU_STARTING = 1     # the driver has not answered yet
    GPU_ACTIVE = 2
    GPU_FAILED = 3       # the driver has gone, or refuses; it is tried again
    GPU_HUNG = 4         # the driver does not answer
    GPU_CLOSED = 5

# A reader's own copy of the last look.
cdef struct c_GpuTable:
    int state
    bint measured         # false = everything about GPUs is absent now
    uint64_t sequence     # grows with every look that succeeded
    uint64_t look_ns      # CLOCK_MONOTONIC of it
    uint64_t interval_ns  # from look to look
    uint64_t gap_ns       # a look that comes later than so long after the one before says nothing about the time between
    uint32_t gpu_count
    uint32_t use_count
    uint32_t live_count   # uses whose process is known here: of the others no task is
    uint32_t use_room
    c_GpuProcess *uses    # sorted by pid, then GPU; freed by c_gpu_table_free
    c_Gpu gpus[WATCHED_GPUS]

# Shared by the thread and the Python object; whoever lets go last frees it: a thread that hangs can be left alone.
cdef struct c_Monitor:
    # ---- fixed
    char path[512]
    uint64_t interval_ns
    # ---- of the thread
    c_GpuLook look
    bint connected
    uint32_t failures    # in a row
    uint64_t retry_ns    # when a lost GPU is looked for again; 0 = none is lost
    # ---- under lock, which is held for a copy only, never during a call of the driver
    pthread_mutex_t lock
    pthread_cond_t wake          # the thread's: it shall stop
    pthread_cond_t told          # the readers': a look or a try has ended, or the thread has
    pthread_t thread
    int owners
    bint stopping                # for good: closed
    bint ended
    int state
    char reason[REASON_BYTES]
    uint64_t call_ns             # since when the thread is in the library; 0 = it is not
    uint64_t turn                # looks and tries that have ended
    uint64_t sequence
    uint64_t look_ns
    uint64_t busy_ns             # CPU of all looks
    uint32_t gpu_count
    uint32_t use_count
    uint32_t use_room
    c_GpuProcess *uses
    c_Gpu gpus[WATCHED_GPUS]

cdef int c_gpu_copy(c_Monitor *monitor, uint64_t now_ns, c_GpuTable *table) noexcept nogil
cdef uint32_t c_gpu_find(const c_GpuTable *table, int32_t pid) noexcept nogil
cdef void c_gpu_table_free(c_GpuTable *table) noexcept nogil

cdef class GpuMonitor:
    cdef c_Monitor *c
    cdef bint running
    cdef uint64_t waited_turn
    cdef int start(self) except -1
    cdef void stop(self) noexcept
