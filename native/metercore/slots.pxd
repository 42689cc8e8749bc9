from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from metercore._c.meter cimport tm_meter
from metercore._c.pthread cimport pthread_mutex_t
from metercore.epochs cimport c_Epochs
from metercore.eta cimport c_Eta
from metercore.history cimport c_History
from metercore.peak cimport c_Peak
from metercore.rate cimport c_Rate
from metercore.report cimport c_Report, c_ReportText
from metercore.tariff cimport c_Tariff

cdef enum:
    SOURCE_NONE = 0      # MetricsSource of the contract
    SOURCE_CGROUP = 1
    SOURCE_BPF = 2
    SOURCE_CLOCK = 3
    SOURCE_PROCFS = 4
    SOURCE_EXTERNAL = 5
    SOURCE_RUSAGE = 6
    MEMORY_NONE = 0      # MemorySource of the contract
    MEMORY_CGROUP = 1
    MEMORY_PSS = 2
    MEMORY_RSS = 3
    MEMORY_EXTERNAL = 4

cdef enum:
    HOLD_NONE = 0        # where memory is read
    HOLD_CGROUP_V2 = 1
    HOLD_CGROUP_V1 = 2
    HOLD_PROCESSES = 3

cdef uint64_t ABSENT     # "not measurable" in the records
cdef double UNKNOWN      # "not measurable" among percentages, which are never negative

cdef enum:
    MOST_GPUS = 16       # listed one by one; sums take in all

cdef struct c_GpuUse:
    int32_t index
    uint64_t memory_bytes    # ABSENT: the driver does not tell
    double percent           # UNKNOWN: likewise

# What most tasks never have; those that have nothing of it share one that is empty.
cdef struct c_Rare:
    c_ReportText text
    c_GpuUse[16] gpus                   # MOST_GPUS
    int64_t[16] custom_counts           # of the counters that the slot's tariff prices, in its order
    uint64_t[16] earlier_custom_counts  # of a view: likewise, of earlier attempts

cdef c_Rare c_NOTHING_RARE

# One report block, as it was when it was last whole.
cdef struct c_Said:
    c_Report report
    c_ReportText text
    int64_t[16] custom_counts           # as in c_Rare

# Of a task that somebody reports about through the daemon: what it says itself, and what they do. See reported.pyx.
cdef struct c_Reported:
    c_Said own
    c_Said other

# What a subscriber sees; compared bytewise to tell whether anything changed, so it is zeroed before it is filled.
cdef struct c_Shown:
    int64_t total_count
    int64_t completed_count
    int64_t failed_count
    int64_t total_size
    int64_t completed_size
    int64_t failed_size
    double rate_count_per_second
    double rate_size_per_second
    double eta_seconds
    double eta_low_seconds
    double eta_high_seconds
    double cpu_cores
    double cpu_percent
    double peak_cpu_percent
    uint64_t cpu_ns
    uint64_t memory_bytes
    uint64_t peak_memory_bytes
    uint64_t io_read_bytes
    uint64_t io_write_bytes
    uint64_t pss_bytes
    uint64_t kernel_peak_memory_bytes
    uint64_t uss_bytes
    uint64_t gpu_memory_bytes
    uint64_t peak_gpu_memory_bytes
    double gpu_percent
    double peak_gpu_percent
    uint64_t open_file_count
    uint64_t voluntary_switch_count
    uint64_t involuntary_switch_count
    uint64_t minor_fault_count
    uint64_t major_fault_count
    double cpu_pressure_percent
    double memory_pressure_percent
    double io_pressure_percent
    double recent_peak_cpu_percent
    uint64_t recent_peak_memory_bytes
    int32_t gpu_count
    int32_t process_count
    int32_t thread_count
    int32_t source
    int32_t memory_source
    uint32_t text_serial
    uint8_t has_eta
    uint8_t ready
    uint8_t gap
    uint8_t measured
    uint8_t stalled

# What readers copy or encode, under view_lock.
cdef struct c_View:
    c_Shown shown
    c_Rare *rare                 # never NULL; shown.gpu_count of its GPUs. Of a slot, it changes under view_lock
    double avg_cpu_percent
    double avg_memory_bytes
    double avg_gpu_memory_bytes  # UNKNOWN = never measured
    double sample_time
    double interval_seconds
    uint64_t memory_byte_ns2_low
    uint64_t memory_byte_ns2_high
    uint64_t gpu_memory_byte_ns2_low
    uint64_t gpu_memory_byte_ns2_high
    uint64_t gpu_ns
    uint64_t earlier_cpu_ns
    uint64_t earlier_byte_ns2_low
    uint64_t earlier_byte_ns2_high
    uint64_t earlier_gpu_byte_ns2_low
    uint64_t earlier_gpu_byte_ns2_high
    uint64_t earlier_gpu_ns
    uint64_t version_ns
    uint32_t version

# What a tick touches of a process comes first: one cache line.
cdef struct c_Member:
    int32_t pid
    int descriptor           # kept, of statm, or of stat with SOURCE_PROCFS; -1 = none
    uint64_t start_ticks     # 0 = not known yet
    uint64_t own_ns          # CPU of its own threads
    uint64_t children_ns     # CPU of the children it waited for, and theirs
    uint64_t rss_pages       # may be off; a change says that memory has to be read
    int32_t thread_count
    char state
    uint8_t stat_due         # it ran since stat was read
    uint8_t measured         # share is known
    # ---- at 1 Hz or less
    double share             # PSS ÷ RSS when last read; 1 while it was alone
    uint64_t held_bytes      # RssAnon + RssShmem + VmSwap when last read …
    uint64_t held_rss_pages  # … and rss_pages then; 0 = never read
    uint64_t held_own_ns     # … and own_ns
    uint64_t io_own_ns       # own_ns when io was last read; 0 = never
    uint64_t read_bytes
    uint64_t write_bytes
    # ---- of an attached tree, see attached.pyx
    int32_t parent_pid       # as of its last stat
    uint8_t counted          # the following are known
    uint8_t older            # it ran before the attachment: counted from when it was found
    uint8_t io_counted
    uint64_t counted_own_ns  # of own_ns, up to where it is counted
    uint64_t counted_children_ns
    uint64_t debt_ns         # of its dead children, counted but not yet arrived in children_ns

# What a tick of a sleeping task touches comes first: two cache lines.
cdef struct c_Slot:
    # ---- under work_lock, held by whoever samples: the thread, or a caller for the first and the last sample
    pthread_mutex_t work_lock
    uint64_t handle          # generation << 32 | index; 0 = free. Changed under the table's lock too
    char *cgroup             # whose members are the tree, v2 or v1 cpuacct; NULL = none
    int source
    int cpu_descriptor
    int parent               # of the sampler's c_Parent; -1 = none
    bint cgroup_is_v2        # its CPU is in cpu.stat, else in cpuacct.usage
    bint in_tree             # its members are found by the tree
    bint attached            # main ran before, and is not below the shim: see attached.pyx
    bint external            # it runs elsewhere: there is nothing of it here but what is reported
    bint descendants         # what descends from main belongs to it; always, unless attached
    bint quiet               # nothing shown changes until it runs again
    bint ran                 # some member may have run since the tick before
    bint dirty               # it ran since memory was last read
    uint64_t last_total_ns   # as read from the cgroup
    uint64_t last_tick_ns
    uint64_t visit_tick      # the tick that last sampled it; 0 = none yet
    uint64_t last_report_ns
    uint64_t last_slow_ns
    c_Peak cores
    # ---- fixed while the slot is open
    uint32_t index
    int32_t shim_pid
    int32_t main_pid
    uint64_t main_start_ticks  # who is meant by main_pid; 0 = whoever has it now
    char *directory          # of the attempt; NULL = nothing of it is kept
    char *cgroup_memory      # whose memory.stat is read; NULL = none. May be `cgroup` itself
    const c_Tariff *tariff   # of the sampler, which keeps every one it was given
    int64_t spec_total_count
    int64_t spec_total_size
    # ---- under work_lock
    int hold
    int memory_descriptor
    int report_descriptor
    int gone_descriptor
    int meter_descriptor
    tm_meter account         # what is billed; last_monotonic_ns = up to where memory is integrated
    uint64_t memory_total_bytes  # ABSENT = never read
    uint64_t reaped_ns
    uint64_t reaped_minor_faults
    uint64_t reaped_major_faults
    uint64_t reaped_voluntary_switches
    uint64_t reaped_involuntary_switches
    uint32_t gone_serial
    bint settling            # attached: its tree has not been looked for since this slot was opened
    uint64_t attached_ticks  # when that was, as start_ticks
    uint64_t attached_ns     # what is billed of its CPU
    int64_t read_before_bytes  # what its older members had read when they were found
    int64_t write_before_bytes
    c_Member *members        # in the order found: ancestors before descendants
    int32_t member_count
    int32_t member_room
    int32_t process_count
    int32_t thread_count
    int32_t highest_pid      # of all members ever
    bint reaped_due          # some member ran since the shim's record was read
    bint unordered           # some member has a lower pid than one found before it: pids came round
    bint dipped              # the last CPU total was lower than one before: somebody died and is not accounted for yet
    bint wants_pss           # there are members whose share is not known, or who share with newcomers or with the dead
    bint uss_stale           # it ran since unique sizes were last read
    uint64_t last_uss_ns
    bint pss_stale           # it ran since shares were last read
    bint pss_denied
    int32_t pss_cursor       # of more members than fit a batch, whose turn it is
    int32_t held_cursor      # likewise, of members that sleep
    bint resumed
    uint64_t pss_bytes
    uint64_t uss_bytes
    uint64_t kernel_peak_bytes
    uint64_t open_file_count
    double cpu_pressure_percent
    double memory_pressure_percent
    double io_pressure_percent
    c_Rare *rare             # never NULL: what the view's is copied from
    int32_t gpu_count
    double gpu_percent
    uint64_t gpu_held_bytes  # at account.gpu_monotonic_ns, known also while the driver does not answer; ABSENT = never told
    uint64_t gpu_sequence    # of the look last taken; 0 = GPUs are not measured
    uint64_t last_memory_ns
    uint64_t last_ran_ns
    bint unsettled           # what its cgroup says of its memory may still lag behind: see sample.pyx
    uint64_t last_io_ns
    uint64_t last_detail_ns
    bint no_pressure         # the kernel keeps none
    c_Epochs recent_cores    # highest of the last minute or two
    c_Epochs recent_memory
    uint64_t next_report_try_ns
    uint64_t last_persist_ns
    uint64_t last_pss_ns
    uint64_t gap_until_ns
    double allowed_cores
    c_Rate rate_count
    c_Rate rate_size
    c_Eta eta
    c_Report report
    c_Reported *reported     # NULL = nobody has reported about it
    int64_t seen_count
    int64_t seen_size
    c_History history
    # ---- under view_lock; taken after work_lock, held for a copy or an encoding only
    pthread_mutex_t view_lock
    c_View view

cdef struct c_Slots:
    pthread_mutex_t lock     # of everything here; taken alone or before nothing else
    c_Slot **all             # stable addresses, allocated one by one, never freed before close
    uint32_t count           # how many there are
    uint32_t room
    uint32_t *free_list
    uint32_t free_count
    c_Slot **open            # in the order of opening: neighbours in time are neighbours in /proc and in memory
    uint32_t open_count
    uint32_t generation
    uint32_t change_count

cdef void c_account_clear(tm_meter *account) noexcept nogil
cdef bint c_rare_own(c_Rare **rare) noexcept nogil
cdef void c_rare_free(c_Rare **rare) noexcept nogil
cdef void c_view_clear(c_View *view) noexcept nogil
cdef bint c_view_copy(c_View *copy, const c_View *view) noexcept nogil
cdef void c_view_move(c_View *target, c_View *view) noexcept nogil
cdef int c_slots_open(c_Slots *slots) noexcept nogil
cdef void c_slots_close(c_Slots *slots) noexcept nogil
cdef c_Slot *c_slot_take(c_Slots *slots) noexcept nogil
cdef int c_slot_list(c_Slots *slots, c_Slot *slot) noexcept nogil
cdef void c_slot_unlist(c_Slots *slots, c_Slot *slot) noexcept nogil
cdef void c_slot_give(c_Slots *slots, c_Slot *slot) noexcept nogil
cdef c_Slot *c_slot_of(c_Slots *slots, uint64_t handle) noexcept nogil
cdef void c_slot_release(c_Slot *slot) noexcept nogil
cdef c_Member *c_member_add(c_Slot *slot, int32_t pid, uint64_t start_ticks) noexcept nogil
cdef void c_member_drop(c_Member *member) noexcept nogil
