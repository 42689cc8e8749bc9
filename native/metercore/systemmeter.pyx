# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The machine as a whole: processors, memory, swap, pressure, load and processes.

CPU: /proc/stat counts in ticks of 10 ms, for each processor, what time went to (proc_stat(5)). In use is what is neither idle
nor waiting for storage; guests are in user time already. Idle and iowait may be counted down (they are, where processors stop
their ticks), so what fell counts as 0. Memory in use is what is not available (MemAvailable of proc_meminfo(5)).
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdio cimport FILE, fclose, fopen, getline, snprintf, sscanf
from libc.stdlib cimport free, realloc
from libc.string cimport memset, strncmp

from metercore.descriptors cimport c_read_path
from metercore.details cimport c_entry_count, c_pressure
from metercore.procfs cimport c_kb_field

import os
from typing import NamedTuple

cdef enum:
    TIMES = 8            # user nice system idle iowait irq softirq steal
    IDLE = 3
    IOWAIT = 4
    WHOLE = 0            # place of all processors together; that of processor n is n + 1
    MOST_PROCESSORS = 65536

cdef struct c_Processor:
    uint32_t epoch       # the look that saw it last; 0 = none did
    double busy          # share of the time between the last two looks, 0 to 1; -1 = not known
    uint64_t[TIMES] ticks


class SystemReading(NamedTuple):
    """What is known of the machine at one moment. Not measurable is None."""

    cpu_percent: float | None
    cpu_cores: float | None
    online_count: int | None
    cpu_percent_by_processor: dict[int, float]
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    memory_used_bytes: int | None
    swap_total_bytes: int | None
    swap_used_bytes: int | None
    cpu_pressure_percent: float | None
    memory_pressure_percent: float | None
    io_pressure_percent: float | None
    load_1_minute: float | None
    load_5_minutes: float | None
    load_15_minutes: float | None
    process_count: int | None
    thread_count: int | None


cdef void c_take_times(c_Processor *processor, const uint64_t *ticks, uint32_t epoch) noexcept nogil:
    """Compare with the look before, if that saw this processor."""
    cdef uint64_t grown
    cdef uint64_t all_ = 0
    cdef uint64_t unused = 0
    cdef int n
    for n in range(TIMES):
        grown = ticks[n] - processor.ticks[n] if ticks[n] > processor.ticks[n] else 0
        all_ += grown
        if n == IDLE or n == IOWAIT:
            unused += grown
        processor.ticks[n] = ticks[n]
    processor.busy = -1.0
    if processor.epoch == epoch - 1 and processor.epoch != 0 and all_ > 0:
        processor.busy = <double>(all_ - unused) / <double>all_
    processor.epoch = epoch


cdef bint c_parse_times(const char *line, uint64_t *ticks, uint32_t *place) noexcept nogil:
    """Parse a line "cpu …" or "cpuN …"; kernels before 2.6.11 have less than eight times. 0 when it is none."""
    cdef unsigned long long[TIMES] found
    cdef unsigned int number
    cdef int n, count
    cdef int used = 0
    place[0] = WHOLE
    if line[3] != c' ':
        if sscanf(line, b"cpu%5u%n", &number, &used) != 1 or number >= MOST_PROCESSORS:
            return 0
        place[0] = number + 1
    else:
        used = 3
    count = sscanf(
        line + used, b"%llu %llu %llu %llu %llu %llu %llu %llu",
        &found[0], &found[1], &found[2], &found[3], &found[4], &found[5], &found[6], &found[7],
    )
    if count < 4:
        return 0
    for n in range(TIMES):
        ticks[n] = found[n] if n < count else 0
    return 1


cdef object c_percent(double share):
    return 100.0 * share if share >= 0.0 else None


cdef class SystemMeter:
    """Meter the machine: `sample` gives CPU use since the last sample, the first one since the meter was made.

    `proc` is where procfs is mounted. Raises OSError when that is no directory; a file that is missing or malformed there, and
    what a kernel does not keep, is None.

    >>> meter = SystemMeter()
    >>> reading = meter.sample()
    >>> 0 < reading.memory_used_bytes < reading.memory_total_bytes
    True
    """

    cdef bytes proc
    cdef c_Processor *processors
    cdef uint32_t room
    cdef uint32_t epoch
    cdef uint32_t online

    def __cinit__(self, *, str proc not None="/proc"):
        with os.scandir(proc):
            self.proc = os.fsencode(proc)
        self.read_times()

    def __dealloc__(self):
        free(self.processors)

    cdef c_Processor *processor(self, uint32_t place) noexcept nogil:
        """The entry at a place, made if need be; NULL without memory."""
        cdef c_Processor *more
        cdef uint32_t room
        if place >= self.room:
            room = max(place + 1, 2 * self.room)
            more = <c_Processor *>realloc(self.processors, room * sizeof(c_Processor))
            if more == NULL:
                return NULL
            memset(more + self.room, 0, (room - self.room) * sizeof(c_Processor))
            self.processors = more
            self.room = room
        return &self.processors[place]

    cdef void read_times(self) noexcept:
        """Read the lines about processors, which come first in the file."""
        cdef char[4200] path
        cdef char *line = NULL
        cdef size_t size = 0
        cdef uint64_t[TIMES] ticks
        cdef uint32_t place
        cdef c_Processor *processor
        cdef FILE *file
        snprintf(path, 4200, b"%s/stat", <const char *>self.proc)
        self.epoch += 1
        self.online = 0
        file = fopen(path, b"re")
        if file == NULL:
            return
        while getline(&line, &size, file) > 3 and strncmp(line, b"cpu", 3) == 0:
            if not c_parse_times(line, ticks, &place):
                continue
            processor = self.processor(place)
            if processor == NULL:
                break
            self.online += place != WHOLE
            c_take_times(processor, ticks, self.epoch)
        free(line)
        fclose(file)

    cdef double busy(self, uint32_t place) noexcept:
        if place >= self.room or self.processors[place].epoch != self.epoch:
            return -1.0
        return self.processors[place].busy

    cdef tuple memory(self):
        """Return (total, available, used, swap total, swap used) in bytes."""
        cdef char[4200] path
        cdef char[8192] text
        cdef uint64_t total, available, swap_total, swap_free
        cdef ssize_t got
        snprintf(path, 4200, b"%s/meminfo", <const char *>self.proc)
        got = max(c_read_path(path, text, 8192), 0)
        cdef bint has_total = c_kb_field(text, <size_t>got, b"MemTotal:", 9, &total)
        cdef bint has_available = c_kb_field(text, <size_t>got, b"MemAvailable:", 13, &available)
        cdef bint has_swap = c_kb_field(text, <size_t>got, b"SwapTotal:", 10, &swap_total)
        cdef bint has_free = c_kb_field(text, <size_t>got, b"SwapFree:", 9, &swap_free)
        return (
            total if has_total else None,
            available if has_available else None,
            total - min(available, total) if has_total and has_available else None,
            swap_total if has_swap else None,
            swap_total - min(swap_free, swap_total) if has_swap and has_free else None,
        )

    cdef object pressure(self, const char *of):
        cdef char[4200] path
        cdef double percent
        snprintf(path, 4200, b"%s/pressure/%s", <const char *>self.proc, of)
        percent = c_pressure(path)
        return percent if percent >= 0.0 else None

    cdef tuple load(self):
        """Return the load averages of 1, 5 and 15 minutes, and how many threads there are."""
        cdef char[4200] path
        cdef char[256] text
        cdef unsigned int[6] part
        cdef unsigned int threads
        cdef ssize_t got
        snprintf(path, 4200, b"%s/loadavg", <const char *>self.proc)
        got = c_read_path(path, text, 255)
        text[max(got, 0)] = 0
        # Each in two parts, since %lf reads the decimal point of whatever locale our program has set.
        if sscanf(
            text, b"%u.%2u %u.%2u %u.%2u %*u/%u", &part[0], &part[1], &part[2], &part[3], &part[4], &part[5], &threads
        ) != 7:
            return None, None, None, None
        return part[0] + part[1] / 100.0, part[2] + part[3] / 100.0, part[4] + part[5] / 100.0, threads

    def sample(self):
        """Look at the machine now."""
        cdef uint32_t n
        cdef int32_t processes = c_entry_count(self.proc)
        cdef double whole
        self.read_times()
        whole = self.busy(WHOLE)
        load_1, load_5, load_15, threads = self.load()
        return SystemReading(
            c_percent(whole),
            whole * self.online if whole >= 0.0 and self.online > 0 else None,
            self.online or None,
            {n: 100.0 * self.busy(n + 1) for n in range(max(self.room, 1) - 1) if self.busy(n + 1) >= 0.0},
            *self.memory(),
            self.pressure(b"cpu"),
            self.pressure(b"memory"),
            self.pressure(b"io"),
            load_1,
            load_5,
            load_15,
            processes if processes > 0 else None,
            threads,
        )
