# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Which processes belong to which root: one pass over /proc, reading the parent of new processes only.

Laws: a root is a subreaper, so every descendant's chain of parents leads to it at all times, whoever dies in between. A new
member is reported after its ancestors. A process is (pid, start time): nobody becomes a member through a parent whose start
time was not read in the same sweep, and a pid that came round is found by re-reading a part of the remembered with each sweep.
"""

from libc.errno cimport EINVAL, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memset

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    SYS_getdents64,
    c_open,
    close,
    lseek,
    syscall,
    tm_dirent64,
)
from metercore.bpf cimport c_Bpf, c_bpf_row, c_Row
from metercore.errors cimport raise_errno
from metercore.procfs cimport c_ProcStat, c_read_stat

cdef uint8_t FRESH = 1
cdef uint8_t OUTSIDER = 2
cdef uint8_t MEMBER = 3
cdef uint8_t ROOT = 4
# A root whose process has gone: it owns its members, but is nobody's parent, since its pid may come round.
cdef uint8_t DEAD_ROOT = 5

cdef size_t BUFFER_BYTES = 32768
# Outsiders are re-read once in so many sweeps.
cdef uint32_t ROUND = 64


cdef uint32_t c_hash(int32_t pid) noexcept nogil:
    return <uint32_t>pid * 2654435769u  # Knuth's multiplicative hash; the high bits are the good ones


cdef uint32_t c_place(const c_Tree *tree, int32_t pid) noexcept nogil:
    """Where pid is, or the empty place where it would go."""
    cdef uint32_t mask = tree.capacity - 1
    cdef uint32_t at = (c_hash(pid) >> 8) & mask
    while tree.table[at].pid != 0 and tree.table[at].pid != pid:
        at = (at + 1) & mask
    return at


cdef c_Entry *c_find(const c_Tree *tree, int32_t pid) noexcept nogil:
    cdef c_Entry *entry = &tree.table[c_place(tree, pid)]
    return entry if entry.pid == pid else NULL


cdef int c_grow(c_Tree *tree) noexcept nogil:
    cdef c_Entry *old = tree.table
    cdef uint32_t old_capacity = tree.capacity
    cdef uint32_t n
    cdef c_Entry *table = <c_Entry *>calloc(old_capacity * 2, sizeof(c_Entry))
    if table == NULL:
        return -1
    tree.table = table
    tree.capacity = old_capacity * 2
    for n in range(old_capacity):
        if old[n].pid != 0:
            table[c_place(tree, old[n].pid)] = old[n]
    free(old)
    return 0


cdef c_Entry *c_insert(c_Tree *tree, int32_t pid) noexcept nogil:
    """The entry of pid, made if need be; NULL without memory."""
    cdef c_Entry *entry
    if tree.count * 2 >= tree.capacity and c_grow(tree) != 0:
        return NULL
    entry = &tree.table[c_place(tree, pid)]
    if entry.pid == 0:
        memset(entry, 0, sizeof(c_Entry))
        entry.pid = pid
        entry.kind = FRESH
        tree.count += 1
    return entry


cdef void c_delete(c_Tree *tree, int32_t pid) noexcept nogil:
    """Empty a place and move those back that probing would no longer reach (Knuth, vol. 3, 6.4, algorithm R)."""
    cdef uint32_t mask = tree.capacity - 1
    cdef uint32_t hole = c_place(tree, pid)
    cdef uint32_t at, home
    if tree.table[hole].pid != pid:
        return
    at = hole
    while True:
        at = (at + 1) & mask
        if tree.table[at].pid == 0:
            break
        home = (c_hash(tree.table[at].pid) >> 8) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            tree.table[hole] = tree.table[at]
            hole = at
    tree.table[hole].pid = 0
    tree.count -= 1


cdef int c_tree_open(c_Tree *tree) noexcept nogil:
    """Make an empty tree; 0 or -errno."""
    memset(tree, 0, sizeof(c_Tree))
    tree.proc_descriptor = -1
    tree.capacity = 1024
    tree.table = <c_Entry *>calloc(tree.capacity, sizeof(c_Entry))
    tree.buffer = <char *>calloc(1, BUFFER_BYTES)
    if tree.table == NULL or tree.buffer == NULL:
        c_tree_close(tree)
        return -ENOMEM
    return 0


cdef void c_tree_close(c_Tree *tree) noexcept nogil:
    """Close a tree, also one of zeros that was never opened: its descriptor 0 is somebody else's."""
    if tree.table != NULL and tree.proc_descriptor >= 0:
        close(tree.proc_descriptor)
    free(tree.table)
    free(tree.buffer)
    free(tree.fresh)
    free(tree.found)
    memset(tree, 0, sizeof(c_Tree))
    tree.proc_descriptor = -1


cdef int c_tree_add_root(c_Tree *tree, int32_t pid, uint64_t owner) noexcept nogil:
    """Attribute the descendants of pid to owner (not 0) from the next sweep on; 0, -EINVAL or -ENOMEM."""
    cdef c_ProcStat now
    cdef c_Entry *entry
    if pid <= 0 or owner == 0:
        return -EINVAL
    entry = c_insert(tree, pid)
    if entry == NULL:
        return -ENOMEM
    entry.kind = ROOT
    entry.owner = owner
    entry.start_ticks = now.start_ticks if c_read_stat(pid, &now) == 0 else 0
    entry.epoch = tree.epoch
    tree.roots_changed = 1
    return 0


cdef void c_tree_remove_root(c_Tree *tree, int32_t pid, uint64_t owner) noexcept nogil:
    cdef c_Entry *entry = c_find(tree, pid)
    if entry != NULL and entry.owner == owner and (entry.kind == ROOT or entry.kind == DEAD_ROOT):
        entry.kind = FRESH
        entry.owner = 0
        tree.roots_changed = 1


cdef void c_tree_forget(c_Tree *tree, int32_t pid) noexcept nogil:
    """A member was found dead: if its pid is seen again, it is somebody new."""
    cdef c_Entry *entry = c_find(tree, pid)
    if entry != NULL and entry.kind == MEMBER:
        entry.kind = FRESH


cdef int c_note_fresh(c_Tree *tree, int32_t pid) noexcept nogil:
    cdef int32_t *more
    if tree.fresh_count == tree.fresh_room:
        more = <int32_t *>realloc(tree.fresh, (tree.fresh_room * 2 + 64) * sizeof(int32_t))
        if more == NULL:
            return -1
        tree.fresh = more
        tree.fresh_room = tree.fresh_room * 2 + 64
    tree.fresh[tree.fresh_count] = pid
    tree.fresh_count += 1
    return 0


cdef int c_note_found(c_Tree *tree, const c_Entry *entry) noexcept nogil:
    cdef c_Found *more
    if tree.found_count == tree.found_room:
        more = <c_Found *>realloc(tree.found, (tree.found_room * 2 + 64) * sizeof(c_Found))
        if more == NULL:
            return -1
        tree.found = more
        tree.found_room = tree.found_room * 2 + 64
    tree.found[tree.found_count].owner = entry.owner
    tree.found[tree.found_count].pid = entry.pid
    tree.found[tree.found_count].start_ticks = entry.start_ticks
    tree.found_count += 1
    return 0


cdef int c_see(c_Tree *tree, int32_t pid) noexcept nogil:
    cdef c_Entry *entry = c_insert(tree, pid)
    if entry == NULL:
        return -ENOMEM
    entry.epoch = tree.epoch
    return 0


cdef int c_list_rows(c_Tree *tree) noexcept nogil:
    """Mark every process of the pass as seen and enter the new ones; 0 or -errno."""
    cdef uint32_t n
    cdef int error
    for n in range(tree.rows.row_count):
        error = c_see(tree, tree.rows.rows[n].pid)
        if error != 0:
            return error
    return 0


cdef int c_list_processes(c_Tree *tree) noexcept nogil:
    """Mark every pid of /proc as seen and enter the new ones; 0 or -errno."""
    cdef long got, at
    cdef tm_dirent64 *record
    cdef const char *name
    cdef int32_t pid
    cdef int error
    if tree.proc_descriptor < 0:
        tree.proc_descriptor = c_open(b"/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if tree.proc_descriptor < 0:
            return -errno
    if lseek(tree.proc_descriptor, 0, 0) < 0:
        return -errno
    while True:
        got = syscall(SYS_getdents64, tree.proc_descriptor, tree.buffer, BUFFER_BYTES)
        if got < 0:
            return -errno
        if got == 0:
            return 0
        at = 0
        while at < got:
            record = <tm_dirent64 *>(tree.buffer + at)
            at += record.d_reclen
            name = record.d_name
            if not c'1' <= name[0] <= c'9':
                continue
            pid = 0
            while c'0' <= name[0] <= c'9':
                pid = pid * 10 + (name[0] - c'0')
                name += 1
            error = c_see(tree, pid)
            if error != 0:
                return error


cdef int c_ancestry(c_Tree *tree, int32_t pid, int32_t *ppid, uint64_t *start_ticks) noexcept nogil:
    """Who is the parent and when did it start, from the pass or from /proc; 0 or -errno."""
    cdef c_ProcStat now
    cdef int error
    cdef const c_Row *row = c_bpf_row(tree.rows, pid) if tree.rows != NULL else NULL
    if row != NULL:
        ppid[0] = row.ppid
        start_ticks[0] = row.start_ticks
        return 0
    tree.stat_count += 1
    error = c_read_stat(pid, &now)
    ppid[0] = now.ppid
    start_ticks[0] = now.start_ticks
    return error


cdef void c_drop_gone(c_Tree *tree) noexcept nogil:
    cdef uint32_t n
    cdef c_Entry *entry
    tree.fresh_count = 0
    for n in range(tree.capacity):
        entry = &tree.table[n]
        if entry.pid == 0 or entry.epoch == tree.epoch:
            continue
        if entry.kind == ROOT:
            entry.kind = DEAD_ROOT
        elif entry.kind != DEAD_ROOT and c_note_fresh(tree, entry.pid) != 0:
            break
    for n in range(tree.fresh_count):
        c_delete(tree, tree.fresh[n])
    tree.fresh_count = 0


cdef void c_verify(c_Tree *tree, c_Entry *entry) noexcept nogil:
    """Re-read who is remembered: another start time is another process, and an outsider's new parent may be one of ours."""
    cdef int32_t ppid
    cdef uint64_t start_ticks
    entry.checked = tree.epoch
    if c_ancestry(tree, entry.pid, &ppid, &start_ticks) != 0:
        return
    if entry.kind == ROOT:
        if entry.start_ticks == 0:  # it could not be read when it was added
            entry.start_ticks = start_ticks
        if entry.start_ticks != start_ticks:
            entry.kind = DEAD_ROOT
    elif start_ticks != entry.start_ticks or (entry.kind == OUTSIDER and ppid != entry.ppid):
        entry.kind = FRESH


cdef void c_collect_fresh(c_Tree *tree) noexcept nogil:
    """List what has to be resolved: the new, some outsiders whose turn it is, and everyone else if roots changed."""
    cdef uint32_t n
    cdef uint32_t share = tree.capacity // ROUND
    cdef c_Entry *entry
    cdef c_Entry *root
    cdef c_Entry *parent
    for n in range(tree.capacity):
        entry = &tree.table[n]
        if entry.pid == 0:
            continue
        if entry.kind == MEMBER:
            if tree.roots_changed:
                root = c_find(tree, entry.root_pid)
                if root == NULL or root.kind < ROOT or root.owner != entry.owner:
                    entry.kind = FRESH
            if entry.kind == MEMBER and ((n - tree.cursor) & (tree.capacity - 1)) < share:
                c_verify(tree, entry)
        elif entry.kind == OUTSIDER:
            if ((n - tree.cursor) & (tree.capacity - 1)) < share:
                c_verify(tree, entry)
            elif tree.roots_changed:
                # Its parent may be a new root, be below one, or have gone and left it to one.
                parent = c_find(tree, entry.ppid)
                if parent == NULL or parent.kind != OUTSIDER:
                    entry.kind = FRESH
        if entry.kind == FRESH and c_note_fresh(tree, entry.pid) != 0:
            break
    tree.cursor += share
    tree.roots_changed = 0


cdef int c_by_pid(const void *a, const void *b) noexcept nogil:
    cdef int32_t left = (<const int32_t *>a)[0]
    cdef int32_t right = (<const int32_t *>b)[0]
    return (left > right) - (left < right)


cdef void c_resolve(c_Tree *tree) noexcept nogil:
    """Read the parents of the fresh and pass membership down, until nothing changes.

    In the order of their pids, not of the table: parents mostly come first then, and whoever asks the members of one tree in the
    order found meets neighbours in the kernel's memory and in a pass one after the other.
    """
    cdef int32_t ppid
    cdef uint64_t start_ticks
    cdef c_Entry *entry
    cdef c_Entry *parent
    cdef uint32_t n, left
    cdef bint again = 1
    cdef uint32_t kept = 0
    if tree.fresh_count > 1:
        qsort(tree.fresh, tree.fresh_count, sizeof(int32_t), &c_by_pid)
    n = 0
    while n < tree.fresh_count:  # which grows by parents that turn out to be somebody new
        entry = c_find(tree, tree.fresh[n])
        n += 1
        entry.checked = tree.epoch
        if c_ancestry(tree, entry.pid, &ppid, &start_ticks) != 0:
            entry.ppid = -1  # gone meanwhile; the next sweep drops it
            continue
        entry.ppid = ppid
        entry.start_ticks = start_ticks
        tree.fresh[kept] = entry.pid
        kept += 1
        parent = c_find(tree, entry.ppid) if entry.ppid > 0 else NULL
        if parent != NULL and (parent.kind == MEMBER or parent.kind == ROOT) and parent.checked != tree.epoch:
            c_verify(tree, parent)
            if parent.kind == FRESH:
                c_note_fresh(tree, parent.pid)
    while again:
        again = 0
        left = 0
        for n in range(kept):
            entry = c_find(tree, tree.fresh[n])
            parent = c_find(tree, entry.ppid) if entry.ppid > 0 else NULL
            if entry.ppid == 0 or (parent != NULL and (parent.kind == OUTSIDER or parent.kind == DEAD_ROOT)):
                entry.kind = OUTSIDER
            elif parent == NULL and tree.rows != NULL and entry.ppid <= 2:  # init and kthreadd may be hidden from a pass
                entry.kind = OUTSIDER
            elif parent == NULL or parent.kind == FRESH:
                tree.fresh[left] = entry.pid  # its parent is not resolved, or not even listed, yet
                left += 1
                continue
            else:
                entry.kind = MEMBER
                entry.owner = parent.owner
                entry.root_pid = parent.pid if parent.kind == ROOT else parent.root_pid
                c_note_found(tree, entry)
            again = 1
        kept = left


cdef int c_tree_sweep(c_Tree *tree, const c_Bpf *rows) noexcept nogil:
    """Look once through all processes, of a BPF pass or of /proc (NULL), and list new members in `found`; 0 or -errno."""
    cdef int error
    cdef uint32_t _depth
    tree.epoch += 1
    tree.sweep_count += 1
    tree.found_count = 0
    tree.rows = rows
    error = c_list_rows(tree) if rows != NULL else c_list_processes(tree)
    if error != 0:
        return error
    c_drop_gone(tree)
    c_collect_fresh(tree)
    # An outsider whose parent was just found fresh may become a member with it: descend until the set is closed.
    c_resolve(tree)
    for _depth in range(64):
        if not c_descend(tree):
            break
        c_resolve(tree)
    return 0


cdef bint c_descend(c_Tree *tree) noexcept nogil:
    """List outsiders whose parent is a member by now; true if there are any."""
    cdef uint32_t n
    cdef c_Entry *entry
    cdef c_Entry *parent
    tree.fresh_count = 0
    if tree.found_count == 0:
        return 0
    for n in range(tree.capacity):
        entry = &tree.table[n]
        if entry.pid == 0 or entry.kind != OUTSIDER or entry.ppid <= 0:
            continue
        parent = c_find(tree, entry.ppid)
        if parent != NULL and parent.kind == MEMBER:
            entry.kind = FRESH
            c_note_fresh(tree, entry.pid)
    return tree.fresh_count > 0


cdef class ProcessTree:
    """Find the processes below some roots, for tests and tools; the sampler uses the same code without Python."""

    def __cinit__(self):
        cdef int error = c_tree_open(&self.c)
        if error != 0:
            raise_errno(-error, None)

    def __dealloc__(self):
        c_tree_close(&self.c)

    def add_root(self, int32_t pid, uint64_t owner):
        """Attribute the descendants of `pid`, which must be a subreaper, to `owner`. Raises ValueError if either is 0."""
        cdef int error = c_tree_add_root(&self.c, pid, owner)
        if error == -EINVAL:
            raise ValueError("a root is a positive pid and an owner that is not 0")
        if error != 0:
            raise_errno(-error, None)

    def remove_root(self, int32_t pid, uint64_t owner):
        """Attribute nothing more to `owner`."""
        c_tree_remove_root(&self.c, pid, owner)

    def forget(self, int32_t pid):
        """Treat `pid` as somebody new if it is seen again."""
        c_tree_forget(&self.c, pid)

    def sweep(self):
        """Look once through /proc; return the new members as (owner, pid, start_ticks), ancestors first. Raises OSError."""
        cdef int error
        cdef uint32_t n
        with nogil:
            error = c_tree_sweep(&self.c, NULL)
        if error != 0:
            raise_errno(-error, "/proc")
        return [(self.c.found[n].owner, self.c.found[n].pid, self.c.found[n].start_ticks) for n in range(self.c.found_count)]

    @property
    def stat_count(self):
        """How many /proc/PID/stat were read so far."""
        return self.c.stat_count
