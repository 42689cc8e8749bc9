from libc.stdint cimport int32_t, uint32_t, uint64_t
from posix.time cimport clockid_t

from metercore._c.pthread cimport pthread_cond_t, pthread_mutex_t, pthread_t
from metercore.backend cimport c_Backend, c_Look
from metercore.encode cimport c_GpuNames
from metercore.gpu cimport c_GpuTable, c_Monitor
from metercore.publish cimport c_Context
from metercore.settle cimport c_Ending
from metercore.slots cimport c_Slot, c_Slots, c_View
from metercore.tariff cimport c_Tariff, Tariff
from metercore.tree cimport c_Tree

cdef struct c_RootChange:
    int32_t pid
    bint added
    uint64_t owner

# The cgroup that holds the tasks' cgroups. While its total stands still, so does that of each of them.
cdef struct c_Parent:
    char *path               # of its cpu.stat or cpuacct.usage
    int descriptor
    bint v1                  # it is cpuacct.usage
    bint ran
    uint64_t last_total_ns

# What the GPUs are called. Another one is made when that changes; readers of an older one may still be at it, so all are kept.
cdef struct c_KeptNames:
    c_GpuNames names
    c_KeptNames *before

cdef enum:
    MOST_PARENTS = 8

cdef struct c_Sampler:
    c_Slots slots
    c_Context context        # fields are written under wake_lock, read by the thread; each is one aligned word
    c_Parent[MOST_PARENTS] parents   # grows under slots.lock, never shrinks; values are of whoever ticks
    int parent_count
    c_Monitor *gpu           # NULL = GPUs are not looked at; one aligned word, as is the next
    c_KeptNames *gpu_names   # the newest; replaced by whoever ticks
    # ---- of whoever ticks: the thread, or one caller at a time
    c_GpuTable gpus          # copy of the last look
    c_Backend backend        # but `base`, which is fixed
    c_Tree tree
    c_Slot **work            # copy of slots.open as of work_change
    uint64_t *work_handles
    uint32_t work_count
    uint32_t work_room
    uint32_t work_change
    uint32_t pss_cursor
    uint32_t uss_cursor
    double pss_budget_ns     # may be negative: a debt
    uint64_t last_tick_ns
    uint64_t last_sweep_ns
    uint64_t sweep_cost_ns
    uint64_t skipped_ns      # added to the monotonic clock, for tests of gaps
    # ---- under roots_lock
    pthread_mutex_t roots_lock
    c_RootChange *roots
    uint32_t root_count
    uint32_t root_room
    uint32_t tree_slots      # how many slots need the tree
    uint64_t youngest_ns     # when the newest of them was opened
    # ---- under wake_lock
    pthread_mutex_t wake_lock
    pthread_cond_t wake
    bint running
    bint stopping
    pthread_t thread
    # ---- written by whoever ticks, read by anyone
    uint64_t tick_count
    uint64_t overrun_count
    uint64_t sweep_count
    uint64_t sample_count
    uint64_t pss_count
    uint64_t busy_ns

cdef class Sampler:
    cdef c_Sampler *c
    cdef list monitors       # every one that was given: the thread may be looking at it
    cdef list tariffs        # every one that was given: slots point into them
    cdef const c_Tariff *kept_tariff(self, Tariff wanted) except NULL
    cdef c_Slot *slot_of(self, uint64_t handle) except NULL
    cdef const c_GpuNames *names(self) noexcept nogil
    cdef void add_root(self, c_Slot *slot, bint added) noexcept nogil
    cdef void join(self) noexcept
    cdef void make_due(self, bint all_) noexcept nogil
    cdef void look_now(self) noexcept nogil
    cdef void conclude(self, c_Slot *slot, c_Ending *ending, uint64_t kernel_peak_bytes, c_View *view) noexcept nogil
    cdef int parent_of(self, str cgroup, str name, bint v1) except -2
    cdef void quick_look(self, c_Look *look) noexcept nogil
