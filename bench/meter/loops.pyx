# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the arithmetic of one slot and one tick costs: metercore's own functions over slots of which every tick changes all."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from metercore._c.pthread cimport pthread_mutex_destroy, pthread_mutex_init
from metercore.clock cimport c_thread_cpu_ns
from metercore.encode cimport HOT_BYTES, c_encode_hot, c_Tariff
from metercore.eta cimport c_eta_start, c_eta_update
from metercore.peak cimport c_peak_update
from metercore.publish cimport c_Context, c_publish
from metercore.rate cimport c_rate_start, c_rate_update
from metercore.slots cimport ABSENT, c_Slot
from metercore.tokens cimport c_add_trapezoid

cdef uint64_t INTERVAL_NS = 100000000
cdef uint64_t SOME_BYTES = 537133056


cdef class Slots:
    """So many slots one after the other in memory, as they are when tasks started one after the other."""

    cdef c_Slot *slots
    cdef int count
    cdef uint64_t now_ns
    cdef c_Context context
    cdef c_Tariff tariff

    def __cinit__(self, int count):
        cdef int n
        cdef c_Slot *slot
        self.slots = <c_Slot *>calloc(<size_t>count, sizeof(c_Slot))
        if self.slots == NULL:
            raise MemoryError
        self.count = count
        self.now_ns = 1000000000
        memset(&self.context, 0, sizeof(self.context))
        self.context.interval_ns = INTERVAL_NS
        self.context.gap_ns = 6 * INTERVAL_NS
        self.context.online_cores = 2.0
        memset(&self.tariff, 0, sizeof(self.tariff))
        memcpy(self.tariff.name, b"default-1", 9)
        self.tariff.name_bytes = 9
        self.tariff.per_core_hour = 1020.0
        self.tariff.per_gib_hour = 100.0
        for n in range(count):
            slot = &self.slots[n]
            pthread_mutex_init(&slot.view_lock, NULL)
            c_rate_start(&slot.rate_count, 5.0)
            c_rate_start(&slot.rate_size, 5.0)
            c_eta_start(&slot.eta)
            slot.allowed_cores = 2.0
            slot.spec_total_count = 1 << 40
            slot.account.first_monotonic_ns = self.now_ns
            slot.account.cpu_source = slot.account.memory_source = 1
            slot.account.peak_memory_bytes = slot.account.memory_bytes = SOME_BYTES
            slot.account.io_read_bytes = slot.account.io_write_bytes = SOME_BYTES
            slot.pss_bytes = slot.kernel_peak_bytes = ABSENT
            slot.process_count = 4
            slot.thread_count = 9
            slot.view.status_bytes = 7
            memcpy(slot.view.status, b"reading", 7)
            slot.view.object_bytes = 19
            memcpy(slot.view.object, b"cases/wing-0251.dat", 19)

    def __dealloc__(self):
        cdef int n
        if self.slots != NULL:
            for n in range(self.count):
                pthread_mutex_destroy(&self.slots[n].view_lock)
        free(self.slots)

    cdef void tick(self) noexcept nogil:
        """Two rates, the ETA, CPU in cores and its peak, the integral of memory."""
        cdef int n
        cdef c_Slot *slot
        self.now_ns += INTERVAL_NS
        for n in range(self.count):
            slot = &self.slots[n]
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
            c_publish(&self.slots[n], &self.context, self.now_ns)

    cdef uint64_t encode_all(self) noexcept nogil:
        cdef unsigned char[HOT_BYTES] out
        cdef uint64_t size = 0
        cdef int n
        for n in range(self.count):
            size += <uint64_t>c_encode_hot(&self.slots[n].view, &self.tariff, out)
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
