# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Memory that one attempt's tree holds: anonymous + shared memory + swap, never the page cache of files it touched.

A memory cgroup knows it exactly. Without one, a single process is its own RssAnon + RssShmem + VmSwap. Several processes
share pages (a fork shares everything), so each counts with its share, PSS ÷ RSS, from smaps_rollup; that is dear to read, so
the share is held between reads while RSS goes on being read. A newcomer counts nothing until its share is known: at most one
round late, where counting it in full would bill four forks fivefold.
"""

from libc.stdint cimport int32_t, uint64_t
from libc.stdio cimport snprintf

from metercore.cgroup cimport c_parse_count, c_parse_memory_v1, c_parse_memory_v2, c_read_ids
from metercore.descriptors cimport c_read_kept_in, c_read_path
from metercore.procfs cimport c_ProcMemory, c_read_memory
from metercore.slots cimport (
    ABSENT,
    HOLD_CGROUP_V1,
    HOLD_CGROUP_V2,
    HOLD_PROCESSES,
    MEMORY_CGROUP,
    MEMORY_PSS,
    MEMORY_RSS,
    SOURCE_PROCFS,
    c_Member,
    c_member_add,
    c_member_drop,
    c_Slot,
)

cdef enum:
    MOST_IDS = 2048
    # Members that are asked every ten seconds although they sleep: 2 ms; a larger tree takes turns.
    SLEEPERS_BATCH = 256


cdef bint c_number_in(const char *directory, const char *name, uint64_t *value) noexcept nogil:
    cdef char[4200] path
    cdef char[64] text
    cdef ssize_t got
    snprintf(path, 4200, b"%s/%s", directory, name)
    got = c_read_path(path, text, 64)
    return got > 0 and c_parse_count(text, <size_t>got, value)


cdef bint c_held_by_cgroup(c_Slot *slot, uint64_t *bytes_) noexcept nogil:
    cdef char[8192] text
    cdef uint64_t swap
    cdef ssize_t got = c_read_kept_in(&slot.memory_descriptor, slot.cgroup_memory, b"memory.stat", text, 8192)
    if got <= 0:
        return 0
    if slot.hold == HOLD_CGROUP_V1:
        return c_parse_memory_v1(text, <size_t>got, bytes_)
    if not c_parse_memory_v2(text, <size_t>got, bytes_):
        return 0
    if c_number_in(slot.cgroup_memory, b"memory.swap.current", &swap):
        bytes_[0] += swap
    return 1


cdef bint c_read_held(c_Slot *slot, c_Member *member, bint fresh) noexcept nogil:
    """Read what one member holds, unless its stat shows the same resident size as then; 0 when it cannot be read.

    Pages that change from file to anonymous leave that size as it is; `fresh`, every ten seconds, sees them too, and those
    that others take from one who sleeps.
    """
    cdef c_ProcMemory now
    if slot.in_tree and not fresh and member.held_rss_pages != 0 and member.held_rss_pages == member.rss_pages:
        return 1
    if c_read_memory(member.pid, &now) != 0:
        return 0
    member.held_bytes = now.anonymous_bytes + now.shared_bytes + now.swap_bytes
    member.held_rss_pages = member.rss_pages
    member.held_own_ns = member.own_ns
    return 1


cdef bint c_is_due(c_Slot *slot, int32_t n) noexcept nogil:
    """Whether it is read again although its resident size is the same: it ran since, as far as clocks tell, or it is its turn."""
    cdef int32_t after = n - slot.held_cursor
    if not slot.in_tree or slot.source == SOURCE_PROCFS or slot.members[n].own_ns != slot.members[n].held_own_ns:
        return 1
    return (after if after >= 0 else after + slot.member_count) < SLEEPERS_BATCH


cdef bint c_held_by_processes(c_Slot *slot, bint fresh, uint64_t *bytes_, int *source) noexcept nogil:
    """Sum over the living members; 0 when none could be read."""
    cdef c_Member *member
    cdef int32_t n
    cdef int32_t alive = 0
    cdef double shared = 0.0
    cdef uint64_t plain = 0
    if slot.held_cursor >= slot.member_count:
        slot.held_cursor = 0
    for n in range(slot.member_count):
        member = &slot.members[n]
        if member.state == c'Z' or not c_read_held(slot, member, fresh and c_is_due(slot, n)):
            continue
        alive += 1
        plain += member.held_bytes
    if fresh:
        slot.held_cursor += SLEEPERS_BATCH
    if alive == 0:
        return 0
    if alive == 1 or slot.pss_denied:
        for n in range(slot.member_count):
            slot.members[n].measured = 1
            slot.members[n].share = 1.0
        bytes_[0] = plain
        source[0] = MEMORY_RSS
        slot.pss_bytes = ABSENT
        return 1
    for n in range(slot.member_count):
        member = &slot.members[n]
        if member.state == c'Z':
            continue
        if member.measured:
            shared += <double>member.held_bytes * member.share
        else:
            slot.wants_pss = 1
    bytes_[0] = <uint64_t>shared
    slot.pss_bytes = bytes_[0]
    source[0] = MEMORY_PSS
    return 1


cdef void c_held_by_first(c_Slot *slot, uint64_t *bytes_) noexcept nogil:
    """Read what the first process of the memory cgroup holds, if there is one."""
    cdef c_ProcMemory now
    cdef char[4200] path
    cdef int32_t pid
    snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup_memory)
    if c_read_ids(path, &pid, 1) > 0 and c_read_memory(pid, &now) == 0:
        bytes_[0] = now.anonymous_bytes + now.shared_bytes + now.swap_bytes


cdef bint c_memory_held(c_Slot *slot, bint fresh, uint64_t *bytes_, int *source) noexcept nogil:
    """Read what the tree holds now and what the figure is made of; 0 when it cannot be read (any more)."""
    if slot.hold == HOLD_CGROUP_V2 or slot.hold == HOLD_CGROUP_V1:
        source[0] = MEMORY_CGROUP
        if not c_held_by_cgroup(slot, bytes_):
            return 0
        # Nobody lives on nothing: the kernel has not gathered the first pages yet, or main is not yet what it will be.
        if bytes_[0] == 0:
            c_held_by_first(slot, bytes_)
        return 1
    if slot.hold != HOLD_PROCESSES:
        return 0
    if not slot.in_tree:
        c_read_members(slot)
    return c_held_by_processes(slot, fresh, bytes_, source)


cdef void c_read_members(c_Slot *slot) noexcept nogil:
    """Bring the members in line with cgroup.procs, for a slot whose tree is a cgroup."""
    cdef char[4200] path
    cdef int32_t[MOST_IDS] ids
    cdef int32_t count, n, k, kept
    snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
    count = c_read_ids(path, ids, MOST_IDS)
    if count < 0:
        return
    count = min(count, MOST_IDS)
    if count == slot.member_count:
        kept = 0
        for n in range(count):
            kept += slot.members[n].pid == ids[n]
        if kept == count:
            return
    slot.wants_pss = 1
    kept = 0
    for n in range(slot.member_count):
        for k in range(count):
            if slot.members[n].pid == ids[k]:
                slot.members[kept] = slot.members[n]
                kept += 1
                break
        else:
            c_member_drop(&slot.members[n])
    slot.member_count = kept
    for k in range(count):
        # A cgroup's list is the authority on who is a member; the start time is of no use here.
        if c_member_add(slot, ids[k], 0) == NULL:
            return


cdef bint c_is_empty(c_Slot *slot) noexcept nogil:
    """Tell whether the tree has no living member, as far as the last look at it says."""
    cdef char[4200] path
    cdef int32_t n
    if not slot.in_tree:
        snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
        return c_read_ids(path, NULL, 0) <= 0
    for n in range(slot.member_count):
        if slot.members[n].state != c'Z':
            return 0
    return 1


cdef void c_read_counts(c_Slot *slot) noexcept nogil:
    """Count processes and threads of a slot whose tree is a cgroup."""
    cdef char[4200] path
    cdef int32_t count
    snprintf(path, 4200, b"%s/cgroup.procs", slot.cgroup)
    count = c_read_ids(path, NULL, 0)
    if count <= 0:  # the tree has ended: the counts of its last sample stay
        return
    slot.process_count = count
    snprintf(path, 4200, b"%s/cgroup.threads" if slot.cgroup_is_v2 else b"%s/tasks", slot.cgroup)
    count = c_read_ids(path, NULL, 0)
    if count > 0:
        slot.thread_count = count


cdef void c_read_kernel_peak(c_Slot *slot) noexcept nogil:
    """Read the kernel's own high-water mark of the cgroup, page cache included."""
    cdef uint64_t peak
    if slot.hold == HOLD_CGROUP_V2 and c_number_in(slot.cgroup_memory, b"memory.peak", &peak):
        slot.kernel_peak_bytes = peak
    elif slot.hold == HOLD_CGROUP_V1 and c_number_in(slot.cgroup_memory, b"memory.max_usage_in_bytes", &peak):
        slot.kernel_peak_bytes = peak


cdef int32_t c_pss_candidates(c_Slot *slot, int32_t *pids, int32_t room) noexcept nogil:
    """List whose shares to read next: all that live if they fit, else the unmeasured first; 0 when none need it."""
    cdef int32_t n
    cdef int32_t count = 0
    cdef int32_t alive = 0
    if slot.hold != HOLD_PROCESSES or slot.pss_denied:
        return 0
    for n in range(slot.member_count):
        alive += slot.members[n].state != c'Z'
    if alive < 2:
        return 0
    for n in range(slot.member_count):
        if count < room and slot.members[n].state != c'Z' and (alive <= room or not slot.members[n].measured):
            pids[count] = slot.members[n].pid
            count += 1
    if count == 0:  # many, and all are measured: those whose turn it is
        for _ in range(min(room, slot.member_count)):
            slot.pss_cursor = (slot.pss_cursor + 1) % slot.member_count
            if slot.members[slot.pss_cursor].state != c'Z':
                pids[count] = slot.members[slot.pss_cursor].pid
                count += 1
    return count


cdef void c_pss_measure(c_Slot *slot, const int32_t *pids, const double *shares, int32_t count) noexcept nogil:
    """Take over shares that were read without the lock; a negative one was not readable."""
    cdef int32_t n, k
    cdef int32_t missing = 0
    for n in range(slot.member_count):
        for k in range(count):
            if slot.members[n].pid == pids[k] and shares[k] >= 0.0:
                slot.members[n].measured = 1
                slot.members[n].share = shares[k]
                break
        if not slot.members[n].measured and slot.members[n].state != c'Z':
            missing += 1
    if slot.wants_pss and missing == 0:
        slot.last_memory_ns = 0  # what newcomers hold counts from the next tick on
    slot.wants_pss = missing > 0
    slot.dirty = 1
