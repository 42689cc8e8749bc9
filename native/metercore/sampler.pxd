from libc.stdint cimport uint32_t, uint64_t
from posix.time cimport clockid_t

from metercore._c.pthread cimport pthread_cond_t, pthread_mutex_t, pthread_t
from metercore.backend cimport c_Backend, c_Look
from metercore.encode cimport c_GpuNames
from metercore.gpu cimport c_GpuTable, c_Monitor
from metercore.parents cimport c_Parents
from metercore.publish cimport c_Context
from metercore.roots cimport c_Roots
from metercore.settle cimport c_Ending
from metercore.slots cimport c_Slot, c_Slots, c_View
from metercore.tariff cimport c_Tariff, Tariff
from metercore.tree cimport c_Tree

# What the GPUs are called. Another one is made when that changes; readers of an older one may still be at it, so all are kept.
cdef struct c_KeptNames:
    c_GpuNames names
    c_KeptNames *before

cdef struct c_Sampler:
    c_Slots slots
    c_Context context        # fields are written under wake_lock, read by the thread; each is one aligned word
    c_Parents parents
    c_Roots roots
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
    uint64_t visit_cost_ns   # of one tick that visits every slot, as far as ticks that do not can tell
    double visit_share       # of the time between two ticks that visiting every slot may take
    uint32_t turns           # among how many ticks quiet slots take turns
    uint64_t last_sweep_ns
    uint64_t sweep_cost_ns
    uint64_t skipped_ns      # added to the monotonic clock, for tests of gaps
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
    cdef void join(self) noexcept
    cdef void make_due(self, bint all_) noexcept nogil
    cdef void look_now(self) noexcept nogil
    cdef void conclude(self, c_Slot *slot, c_Ending *ending, uint64_t kernel_peak_bytes, c_View *view) noexcept nogil
    cdef void quick_look(self, c_Look *look) noexcept nogil
