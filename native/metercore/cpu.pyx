# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CPU total of one attempt's tree: from its cgroup, where the kernel counts exited children too, else by its members."""

from libc.stdint cimport uint64_t

from metercore.backend cimport c_Look
from metercore.cgroup cimport c_parse_count, c_parse_usage
from metercore.descriptors cimport c_read_kept_in
from metercore.members cimport c_members_total
from metercore.slots cimport SOURCE_CGROUP, c_Slot


cdef bint c_cgroup_total(int *descriptor, const char *cgroup, bint v1, uint64_t *total_ns) noexcept nogil:
    """Read v2 cpu.stat (µs) or v1 cpuacct.usage (ns); 0 when it cannot be read (any more)."""
    cdef char[1024] text
    cdef ssize_t got = c_read_kept_in(descriptor, cgroup, b"cpuacct.usage" if v1 else b"cpu.stat", text, 1024)
    if got <= 0:
        return 0
    if v1:
        return c_parse_count(text, <size_t>got, total_ns)
    return c_parse_usage(text, <size_t>got, total_ns)


cdef bint c_cpu_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil:
    """Read the total of the tree, and note whether it ran; 0 when nothing can be read (any more).

    `all_known`: its members were just looked for.
    """
    slot.ran = 0
    if slot.source == SOURCE_CGROUP:
        if not c_cgroup_total(&slot.cpu_descriptor, slot.cgroup, not slot.cgroup_is_v2, total_ns):
            return 0
        slot.ran = total_ns[0] != slot.last_total_ns
        slot.last_total_ns = total_ns[0]
        return 1
    return c_members_total(slot, look, all_known, total_ns)
