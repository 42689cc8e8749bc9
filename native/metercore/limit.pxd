cdef enum:
    LIMIT_PATH_BYTES = 4096  # PATH_MAX

cdef struct c_Hierarchy:
    char point[LIMIT_PATH_BYTES]  # where it is mounted, without a slash at the end; only if `root` is not empty
    char root[LIMIT_PATH_BYTES]   # which of its control groups shows there; "" = not mounted

cdef struct c_CpuMounts:
    c_Hierarchy v2
    c_Hierarchy v1

cdef int c_cpu_mounts(const char *mountinfo, c_CpuMounts *mounts) noexcept nogil
cdef int c_quota_cores(const c_CpuMounts *mounts, const char *membership, double *cores) noexcept nogil
cdef int c_affinity_count(int pid) noexcept nogil
cdef int c_limit_cores(const c_CpuMounts *mounts, int pid, double *cores) noexcept nogil
cdef double c_limit_percent(double cores, double allowed) noexcept nogil

cdef class CpuLimit:
    cdef c_CpuMounts mounts
    cdef bytes membership
    cdef double quota       # 0 = none
    cdef readonly int pid
    cdef readonly int affinity_count
    cdef readonly int online_count
