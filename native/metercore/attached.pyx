# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CPU and storage IO of a process that was attached, counted from then on.

Nobody reaps this tree for us, so nothing is summed up at its end; growth is. Of each member its own CPU clock is followed, from
0 if it is younger than the attachment, else from where it stood when it was found. What its parent waits for arrives in the
parent's cutime, all at once, with what we have counted already: so a member that dies leaves its last total as a debt to its
parent, and of the parent's growth that much is not counted. A member whose parent is none takes its last tick with it.

The meter page keeps the sum over the living (`tree_cpu_ns`). After a restart what that sum has grown by, once the tree has been
looked for again, is what was used while nobody sampled.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from metercore.backend cimport c_Look
from metercore.members cimport c_read_member, c_read_reaped
from metercore.procfs cimport c_tick_ns
from metercore.slots cimport ABSENT, SOURCE_CLOCK, SOURCE_PROCFS, c_Member, c_member_add, c_member_drop, c_Slot


cdef void c_attached_start(c_Slot *slot, int32_t pid, uint64_t start_ticks, uint64_t boottime_ns) noexcept nogil:
    """Make the main process the first member; who is older than now is counted from when it is found."""
    slot.attached_ticks = boottime_ns // c_tick_ns
    slot.settling = slot.resumed or slot.descendants
    slot.attached_ns = slot.account.cpu_ns
    c_read_reaped(slot)  # the shim has followed the main process since it was attached, with or without us
    if not slot.resumed:
        slot.attached_ns = slot.reaped_ns
    if slot.account.io_read_bytes != ABSENT:
        slot.read_before_bytes = -<int64_t>slot.account.io_read_bytes
    if slot.account.io_write_bytes != ABSENT:
        slot.write_before_bytes = -<int64_t>slot.account.io_write_bytes
    c_member_add(slot, pid, start_ticks)


cdef c_Member *c_parent(c_Slot *slot, int32_t count, int32_t pid) noexcept nogil:
    """The living member with this pid among the first `count`; NULL when there is none."""
    cdef int32_t n
    for n in range(count):
        if slot.members[n].pid == pid:
            return &slot.members[n]
    return NULL


cdef void c_bury(c_Slot *slot, const c_Member *dead, int32_t kept) noexcept nogil:
    """Leave a dead member's total as its parent's debt, and have its orphans looked at again: they have another parent."""
    cdef c_Member *parent = c_parent(slot, kept, dead.parent_pid)
    cdef int32_t n
    if parent != NULL:
        parent.debt_ns += dead.counted_own_ns + dead.counted_children_ns + dead.debt_ns
    for n in range(slot.member_count):
        if slot.members[n].parent_pid == dead.pid:
            slot.members[n].stat_due = 1


cdef uint64_t c_grown(c_Slot *slot, c_Member *member) noexcept nogil:
    """What a member has used since the last call, as far as it has not been counted elsewhere."""
    cdef uint64_t own = member.own_ns
    cdef uint64_t children = member.children_ns
    cdef uint64_t grown = 0
    cdef uint64_t paid
    if not member.counted:
        member.counted = 1
        # Who began in the same tick has used less than one. After a restart everyone who is there counts as older: what they
        # used meanwhile is in the sum.
        member.older = member.start_ticks < slot.attached_ticks or (slot.resumed and slot.settling)
        if member.older:
            member.counted_own_ns = own
            member.counted_children_ns = children
    if own > member.counted_own_ns:
        grown = own - member.counted_own_ns
        member.counted_own_ns = own
    if slot.descendants and children > member.counted_children_ns:
        paid = min(children - member.counted_children_ns, member.debt_ns)
        member.debt_ns -= paid
        # Before the first look at the tree children that were never seen may have brought along what they used long ago.
        if not slot.settling:
            grown += children - member.counted_children_ns - paid
        member.counted_children_ns = children
    return grown


cdef bint c_attached_total(c_Slot *slot, const c_Look *look, bint all_known, uint64_t *total_ns) noexcept nogil:
    """What the tree has used since it was attached; 0 when nobody of it is left.

    Ancestors are read first, and what has grown is added up when all have been read: a parent's growth that holds a dead child
    is then never counted before that child is known to be dead.
    """
    cdef int32_t n
    cdef int32_t kept = 0
    cdef int32_t processes = 0
    cdef int32_t threads = 0
    cdef c_Member *member
    cdef c_Member dead
    cdef uint64_t grown = 0
    cdef uint64_t living = 0
    slot.ran = 0
    for n in range(slot.member_count):
        # Never by a pass, which is in no order; and always with stat, for what the children it waited for had used.
        if c_read_member(slot, &slot.members[n], look.source == SOURCE_PROCFS, 1):
            if kept != n:
                slot.members[kept] = slot.members[n]
            kept += 1
            continue
        dead = slot.members[n]
        c_member_drop(&slot.members[n])
        slot.members[n].pid = 0
        slot.ran = 1
        slot.wants_pss = 1
        c_bury(slot, &dead, kept)
    slot.member_count = kept
    for n in range(kept):
        member = &slot.members[n]
        grown += c_grown(slot, member)
        living += member.counted_own_ns + member.debt_ns
        if slot.descendants:
            living += member.counted_children_ns
        if member.state != c'Z':
            processes += 1
            threads += member.thread_count
    if slot.settling and (all_known or not slot.descendants):
        slot.settling = 0
        if slot.resumed:
            slot.attached_ns += max(living, slot.account.tree_cpu_ns) - slot.account.tree_cpu_ns
            slot.attached_ns = max(slot.attached_ns, slot.reaped_ns)
            grown = 0
    if not (slot.settling and slot.resumed):
        slot.attached_ns += grown
        slot.account.tree_cpu_ns = living
    if processes > 0:  # else it has ended: the counts of its last sample stay
        slot.process_count = processes
        slot.thread_count = threads
    slot.source = SOURCE_PROCFS if look.source == SOURCE_PROCFS else SOURCE_CLOCK
    total_ns[0] = slot.attached_ns
    return kept > 0


cdef void c_attached_io(c_Slot *slot, c_Member *member, uint64_t read_bytes, uint64_t write_bytes) noexcept nogil:
    """Note what an older member had read and written when it was found."""
    if member.older and not member.io_counted:
        slot.read_before_bytes += <int64_t>read_bytes
        slot.write_before_bytes += <int64_t>write_bytes
    member.io_counted = 1
