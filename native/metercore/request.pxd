"""One request to the launcher's thread, and its result."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    c_PREPARE = 1
    c_LAUNCH = 2
    c_REMOVE_CGROUPS = 3

cdef enum:
    c_STEP_NONE = 0
    c_STEP_DIRECTORY = 1
    c_STEP_SPEC = 2
    c_STEP_RECORDS = 3
    c_STEP_INPUT = 4
    c_STEP_BLOCK = 5
    c_STEP_SPAWN = 6
    c_STEP_CGROUP = 7

cdef struct Request:
    Request *next
    uint64_t id
    int kind
    char *memory        # owns every string and payload below
    char *directory     # the attempt directory
    char *payload       # spec, or the launch block
    size_t payload_bytes
    char *stdin_data
    size_t stdin_bytes
    bint has_stdin
    bint shared_work    # task/work links to the directory beside the attempts
    char *cgroup_v2
    char *cgroup_v1[4]  # TM_MAX_CGROUPS_V1
    int cgroup_v1_count
    uint32_t directory_mode
    bint has_ids
    uint32_t uid
    uint32_t gid
    int error           # errno, 0 = done
    int step
    int pid
    int pidfd


cdef void c_perform(Request *request, const char *shim_path, int null) noexcept nogil
cdef void c_release(Request *request) noexcept nogil
