# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What others report about a task, in a block of the daemon's own beside the task's: both are added.

The daemon writes `reported` into the attempt's directory, in the layout of _c/report.h, so that it never has to open for writing,
or to map, what belongs to a task. Counters of both are summed; of a text the reported one is shown, if there is one. A task that
nobody reports about costs one comparison.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy

from metercore._c.report cimport TM_REPORT_BYTES, TM_REPORT_CUSTOM_COUNT, TM_REPORT_NAME_BYTES, tm_report
from metercore._c.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from metercore.descriptors cimport c_read_path
from metercore.report cimport c_clamp, c_report_add, c_report_counters, c_report_text
from metercore.slots cimport c_rare_own, c_Reported, c_Said, c_Slot
from metercore.tariff cimport c_Tariff

# How often a report is read while nothing happens (sample.pyx): so much earlier, it is due, and stays in its phase.
cdef uint64_t REPORT_NS = 1000000000u


cdef bint c_reported_begin(c_Slot *slot) noexcept nogil:
    """Have what is reported read from now on; 0 without memory. The caller holds work_lock, or is its only user."""
    if slot.reported != NULL:
        return 1
    slot.reported = <c_Reported *>calloc(1, sizeof(c_Reported))
    if slot.reported == NULL:
        return 0
    slot.reported.own.report = slot.report
    slot.reported.own.text = slot.rare.text
    memcpy(slot.reported.own.custom_counts, slot.rare.custom_counts, sizeof(slot.rare.custom_counts))
    return 1


cdef void c_take(const c_Tariff *tariff, const char *page, c_Said *said) noexcept nogil:
    """Take a copy of a block; what is not whole stays as it was."""
    cdef const tm_report *block = <const tm_report *>page
    cdef int n, k
    if not c_report_counters(page, TM_REPORT_BYTES, &said.report):
        return
    for n in range(tariff.custom_count):
        for k in range(TM_REPORT_CUSTOM_COUNT):
            if memcmp(block.custom[k].name, tariff.custom[n].name, TM_REPORT_NAME_BYTES) == 0:
                said.custom_counts[n] = c_clamp(block.custom[k].value)
                break
    if block.text_serial != said.report.text_serial and c_report_text(page, TM_REPORT_BYTES, &said.text):
        said.report.text_serial = block.text_serial


cdef void c_show_text(c_Slot *slot) noexcept nogil:
    """Show what was reported, or where nothing was, what the task says itself."""
    cdef const c_Said *own = &slot.reported.own
    cdef const c_Said *other = &slot.reported.other
    cdef uint32_t serial = own.report.text_serial + other.report.text_serial
    cdef const c_Said *chosen
    if serial == slot.report.text_serial or not c_rare_own(&slot.rare):
        return
    chosen = other if other.text.status_bytes > 0 else own
    slot.rare.text.status_bytes = chosen.text.status_bytes
    memcpy(slot.rare.text.status, chosen.text.status, chosen.text.status_bytes)
    chosen = other if other.text.object_bytes > 0 else own
    slot.rare.text.object_bytes = chosen.text.object_bytes
    memcpy(slot.rare.text.object, chosen.text.object, chosen.text.object_bytes)
    slot.report.text_serial = serial


cdef void c_reported_read(c_Slot *slot, const char *own_page) noexcept nogil:
    """Read what was reported and add it to what the task says itself, in `own_page`; NULL: as it said last."""
    cdef c_Reported *both = slot.reported
    cdef char[TM_REPORT_BYTES] page
    cdef char[4200] path
    cdef int64_t count
    cdef int n
    if own_page != NULL:
        c_take(slot.tariff, own_page, &both.own)
    if slot.directory != NULL:
        snprintf(path, 4200, b"%s/reported", slot.directory)
        if c_read_path(path, page, TM_REPORT_BYTES) == <ssize_t>TM_REPORT_BYTES:
            c_take(slot.tariff, page, &both.other)
    c_report_add(&both.own.report, &both.other.report, &slot.report)
    for n in range(slot.tariff.custom_count):
        count = both.own.custom_counts[n] + both.other.custom_counts[n]
        if count != slot.rare.custom_counts[n] and c_rare_own(&slot.rare):
            slot.rare.custom_counts[n] = count
    c_show_text(slot)


cdef bint c_reported_note(c_Slot *slot, uint64_t handle) noexcept nogil:
    """Have what was reported read by the next tick, although the tree may sleep, and from then on; 0 without memory."""
    cdef bint noted = 1
    pthread_mutex_lock(&slot.work_lock)
    if slot.handle == handle:  # else it was finished meanwhile
        noted = c_reported_begin(slot)
        slot.quiet = 0
        slot.visit_tick = 0
        slot.last_report_ns -= min(slot.last_report_ns, REPORT_NS)
    pthread_mutex_unlock(&slot.work_lock)
    return noted
