# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the arithmetic of one slot and one tick costs: metercore's own functions over slots of which every tick changes all."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from metercore.clock cimport c_thread_cpu_ns
from metercore.encode cimport HOT_BYTES, c_encode_hot, c_GpuNames
from metercore.eta cimport c_eta_update
from metercore.peak cimport c_peak_update
from metercore.publish cimport c_Context, c_publish
from metercore.rate cimport c_rate_update
from metercore.slots cimport c_rare_own, c_Slot, c_slot_take, c_Slots, c_slots_close, c_slots_open
from metercore.tariff cimport Tariff
from metercore.tokens cimport c_add_trapezoid

cdef uint64_t INTERVAL_NS = 100000000
cdef uint64_t SOME_BYTES = 537133056


cdef class Slots:
    """So many slots, made one after the other, as when tasks start one after the other."""

    cdef c_Slots table
    cdef int count
    cdef uint64_t now_ns
    cdef c_Context context
    cdef c_GpuNames names
    cdef Tariff tariff

    def __cinit__(self, int count, Tariff tariff not None):
        cdef int _slot
        cdef c_Slot *slot
        c_slots_open(&self.table)
        self.count = count
        self.now_ns = 1000000000
        self.tariff = tariff
        memset(&self.names, 0, sizeof(self.names))
        memset(&self.context, 0, sizeof(self.context))
        self.context.interval_ns = INTERVAL_NS
        self.context.gap_ns = 6 * INTERVAL_NS
        self.context.online_cores = 2.0
        for _slot in range(count):
            slot = c_slot_take(&self.table)
            if slot == NULL:
                raise MemoryError
            slot.tariff = &tariff.c
            slot.allowed_cores = 2.0
            slot.spec_total_count = 1 << 40
            slot.account.first_monotonic_ns = self.now_ns
            slot.account.cpu_source = slot.account.memory_source = 1
            slot.account.peak_memory_bytes = slot.account.memory_bytes = SOME_BYTES
            slot.account.io_read_bytes = slot.account.io_write_bytes = SOME_BYTES
            slot.process_count = 4
            slot.thread_count = 9
            if not c_rare_own(&slot.view.rare):
                raise MemoryError
            slot.view.rare.text.status_bytes = 7
            memcpy(slot.view.rare.text.status, b"reading", 7)
            slot.view.rare.text.object_bytes = 19
            memcpy(slot.view.rare.text.object, b"cases/wing-0251.dat", 19)

    def __dealloc__(self):
        c_slots_close(&self.table)

    cdef void tick(self) noexcept nogil:
        """Two rates, the ETA, CPU in cores and its peak, the integral of memory."""
        cdef int n
        cdef c_Slot *slot
        self.now_ns += INTERVAL_NS
        for n in range(self.count):
            slot = self.table.all[n]
            slot.seen_count += 3
            slot.report.completed_count = slot.seen_count
            slot.account.cpu_ns += INTERVAL_NS // 3
            c_rate_update(&slot.rate_count, self.now_ns, 3.0)
            c_rate_update(&slot.rate_size, self.now_ns, 3000.0)
            c_eta_update(&slot.eta, self.now_ns, <double>slot.seen_count)
            c_peak_update(&slot.cores, self.now_ns, slot.account.cpu_ns, self.context.online_cores, 0)
            c_add_trapezoid(
                &slot.account.memory_byte_ns2_low,
                &slot.account.memory_byte_ns2_high,
                SOME_BYTES,
                SOME_BYTES + 4096,
                INTERVAL_NS,
            )

    cdef void publish_all(self) noexcept nogil:
        cdef int n
        for n in range(self.count):
            c_publish(self.table.all[n], &self.context, self.now_ns)

    cdef uint64_t encode_all(self) noexcept nogil:
        cdef unsigned char[HOT_BYTES] out
        cdef uint64_t size = 0
        cdef int n
        for n in range(self.count):
            size += <uint64_t>c_encode_hot(&self.table.all[n].view, &self.tariff.c, &self.names, out)
        return size

    def numerics_ns(self, int times):
        """CPU nanoseconds per slot and tick of the arithmetic."""
        cdef uint64_t before = c_thread_cpu_ns()
        cdef int _time
        for _time in range(times):
            self.tick()
        return <double>(c_thread_cpu_ns() - before) / times / self.count

    def publish_ns(self, int times):
        """CPU nanoseconds per slot of showing readers what has changed; the arithmetic in between is not counted."""
        cdef uint64_t spent = 0
        cdef uint64_t before
        cdef int _time
        for _time in range(times):
            self.tick()
            before = c_thread_cpu_ns()
            self.publish_all()
            spent += c_thread_cpu_ns() - before
        return <double>spent / times / self.count

    def encode_ns(self, int times):
        """CPU nanoseconds per status of encoding it, and its size in bytes."""
        cdef uint64_t before = c_thread_cpu_ns()
        cdef uint64_t size = 0
        cdef int _time
        for _time in range(times):
            size = self.encode_all()
        return <double>(c_thread_cpu_ns() - before) / times / self.count, size / self.count
