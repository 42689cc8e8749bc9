from libc.stdint cimport uint32_t, uint64_t

from metercore.bpf cimport c_Bpf

# How processes without a cgroup are read at one tick.
cdef struct c_Look:
    int source               # SOURCE_BPF, SOURCE_CLOCK or SOURCE_PROCFS
    const c_Bpf *rows        # with SOURCE_BPF: this tick's pass
    uint64_t now_ns          # with SOURCE_BPF: when that began

# Which source a sampler uses. Of whoever ticks, but for `base`, which never changes after c_backend_open.
cdef struct c_Backend:
    int wanted               # SOURCE_NONE = choose
    int base                 # SOURCE_CLOCK or SOURCE_PROCFS: where there is no pass, or what a pass does not tell
    bint bpf_open
    c_Bpf bpf
    uint64_t bpf_retry_ns
    uint64_t bpf_pass_count
    uint64_t bpf_failure_count
    uint32_t member_count    # processes of all trees, as of the tick before
    int shown                # the source of the newest tick

cdef bint c_clock_works() noexcept nogil
cdef int c_backend_open(c_Backend *backend, int wanted) except -1
cdef void c_backend_close(c_Backend *backend) noexcept nogil
cdef void c_backend_look(c_Backend *backend, c_Look *look, uint32_t process_count, uint64_t now_ns) noexcept nogil
