# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Which source of process figures is used: chosen by self-test, chosen anew when one fails, or forced.

A tree in a cgroup has its totals from there. For the others there are three. BPF is one pass over all threads of the system,
the cheapest when many of them are ours, and needs privileges. CLOCK asks the CPU clock of each process, in nanoseconds, open to
anybody, and looks further only at those that ran. PROCFS reads stat, in ticks of 10 ms, and is what is left when the clocks are
refused. A pass that fails is replaced within the same tick, and tried again later.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_PROCESS_CPUTIME_ID, clock_gettime, clockid_t, timespec

from metercore._c.linux cimport getpid
from metercore.bpf cimport c_bpf_close, c_bpf_open, c_bpf_sweep
from metercore.procfs cimport c_ProcStat, c_read_stat
from metercore.slots cimport SOURCE_BPF, SOURCE_CLOCK, SOURCE_NONE, SOURCE_PROCFS

import os
from typing import NamedTuple

from metercore import bpf

NAMES = {SOURCE_BPF: "bpf", SOURCE_CLOCK: "clock", SOURCE_PROCFS: "procfs"}

# Below this, asking each clock costs about as much as a pass, and less when all sleep.
cdef uint32_t FEWEST_MEMBERS = 64
# A pass visits every thread of the system; below this share of it being ours, it does not pay (measured: bench/meter).
cdef uint32_t LEAST_SHARE = 10
cdef uint64_t RETRY_NS = 10 * 1000000000u


cdef bint c_clock_works() noexcept nogil:
    """Ask our own process by its id, as others are asked, and compare: a sandbox may refuse or fake it."""
    cdef timespec before, asked, after
    cdef clockid_t clock = <clockid_t>((~getpid() << 3) | 2)
    if clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before) != 0 or clock_gettime(clock, &asked) != 0:
        return 0
    if clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after) != 0:
        return 0
    return (
        before.tv_sec * 1000000000 + before.tv_nsec
        <= asked.tv_sec * 1000000000 + asked.tv_nsec
        <= after.tv_sec * 1000000000 + after.tv_nsec
    )


cdef int c_backend_open(c_Backend *backend, int wanted) except -1:
    """Choose the source; a forced one must work. Raises OSError with the reason."""
    memset(backend, 0, sizeof(c_Backend))
    backend.wanted = wanted
    backend.base = SOURCE_PROCFS
    if wanted != SOURCE_PROCFS and c_clock_works():
        backend.base = SOURCE_CLOCK
    if wanted == SOURCE_CLOCK and backend.base != SOURCE_CLOCK:
        raise OSError("the CPU clocks of processes cannot be read here: a sandbox refuses clock_gettime(2) for other processes")
    if wanted == SOURCE_BPF:
        error = c_bpf_open(&backend.bpf)
        if error != 0:
            raise OSError(-error, backend.bpf.program.reason.decode())
        backend.bpf_open = 1
    backend.shown = SOURCE_BPF if wanted == SOURCE_BPF else backend.base
    return 0


cdef void c_backend_close(c_Backend *backend) noexcept nogil:
    if backend.bpf_open:
        c_bpf_close(&backend.bpf)
        backend.bpf_open = 0


cdef bint c_pass_pays(const c_Backend *backend, uint32_t process_count) noexcept nogil:
    cdef uint64_t visited = process_count
    if backend.wanted != SOURCE_NONE:
        return backend.wanted == SOURCE_BPF
    if backend.bpf_open and backend.bpf.task_count > visited:
        visited = backend.bpf.task_count  # processes alone are known before the first pass, threads after it
    return backend.member_count >= FEWEST_MEMBERS and <uint64_t>backend.member_count * LEAST_SHARE >= visited


cdef void c_backend_look(c_Backend *backend, c_Look *look, uint32_t process_count, uint64_t now_ns) noexcept nogil:
    """Prepare one tick: make the pass if it pays and works. `process_count`: of the system, as far as it is known."""
    look.source = backend.base
    look.rows = NULL
    look.now_ns = now_ns
    if c_pass_pays(backend, process_count) and now_ns >= backend.bpf_retry_ns:
        if not backend.bpf_open:
            backend.bpf_open = c_bpf_open(&backend.bpf) == 0
        if backend.bpf_open and c_bpf_sweep(&backend.bpf) == 0:
            backend.bpf_pass_count += 1
            look.source = SOURCE_BPF
            look.rows = &backend.bpf
        else:
            backend.bpf_failure_count += 1
            backend.bpf_retry_ns = now_ns + RETRY_NS
            c_backend_close(backend)
    backend.shown = look.source


class Backend(NamedTuple):
    """Whether a source of process figures can be used here."""

    name: str
    works: bool
    reason: str


def source_of(name):
    """Return the number in MetricsSource of a back end's name; 0 for "auto". Raises ValueError."""
    if name == "auto":
        return SOURCE_NONE
    for source, known in NAMES.items():
        if known == name:
            return source
    raise ValueError(f'a back end is "auto", {", ".join(map(repr, NAMES.values()))}, not {name!r}')


def name_of(int source):
    """Return the name of a back end by its number in MetricsSource. Raises KeyError."""
    return NAMES[source]


def examine():
    """Test each source by our own process, best first; opens nothing that stays."""
    cdef c_ProcStat own
    refused = bpf.probe()
    yield Backend("bpf", refused is None, refused or "one pass over all threads, in nanoseconds")
    if c_clock_works():
        yield Backend("clock", True, "the CPU clock of each process, in nanoseconds")
    else:
        yield Backend("clock", False, "clock_gettime(2) refuses the clocks of other processes: a sandbox?")
    error = c_read_stat(getpid(), &own)
    told = f"/proc/PID/stat: {os.strerror(-error)}" if error else "/proc/PID/stat, in ticks of 10 ms"
    yield Backend("procfs", error == 0, told)
