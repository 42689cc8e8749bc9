# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What reporting is held against: methods that do nothing, and reading report blocks without the kernel, and with it."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from metercore._c.linux cimport MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap, pread
from metercore._c.report cimport TM_REPORT_BYTES
from metercore.clock cimport c_thread_cpu_ns
from metercore.report cimport c_Report, c_report_counters


cdef class Nothing:
    """Methods with the signatures of ReportBlock, and empty."""

    def add(self, int64_t n=1, int64_t size=0):
        """Do nothing."""


cdef class Blocks:
    """Report blocks, by their descriptors: mapped, as who shares them may read them, and with pread(2), as the sampler does."""

    cdef int count
    cdef int *descriptors
    cdef char **pages
    cdef char *together  # copies of all, one after the other

    def __cinit__(self, list descriptors not None):
        cdef void *page
        cdef int n
        self.count = <int>len(descriptors)
        self.descriptors = <int *>malloc(self.count * sizeof(int))
        self.pages = <char **>malloc(self.count * sizeof(char *))
        self.together = <char *>malloc(self.count * TM_REPORT_BYTES)
        if self.descriptors == NULL or self.pages == NULL or self.together == NULL:
            raise MemoryError
        for n in range(self.count):
            self.descriptors[n] = descriptors[n]
            page = mmap(NULL, TM_REPORT_BYTES, PROT_READ, MAP_SHARED, self.descriptors[n], 0)
            if page == MAP_FAILED:
                self.count = n
                raise OSError("cannot map")
            self.pages[n] = <char *>page
            memcpy(self.together + n * TM_REPORT_BYTES, page, TM_REPORT_BYTES)

    def __dealloc__(self):
        cdef int n
        for n in range(self.count):
            munmap(self.pages[n], TM_REPORT_BYTES)
        free(self.together)
        free(self.pages)
        free(self.descriptors)

    def mapped_ns(self):
        """Take the counters of all from their mappings; CPU nanoseconds."""
        cdef c_Report found
        cdef unsigned long long begin = c_thread_cpu_ns()
        cdef int64_t total = 0
        cdef int n
        for n in range(self.count):
            if c_report_counters(self.pages[n], TM_REPORT_BYTES, &found):
                total += found.completed_count
        self._check(total)
        return c_thread_cpu_ns() - begin

    def together_ns(self):
        """Take the counters of all from one piece of memory; CPU nanoseconds."""
        cdef c_Report found
        cdef unsigned long long begin = c_thread_cpu_ns()
        cdef int64_t total = 0
        cdef int n
        for n in range(self.count):
            if c_report_counters(self.together + n * TM_REPORT_BYTES, TM_REPORT_BYTES, &found):
                total += found.completed_count
        self._check(total)
        return c_thread_cpu_ns() - begin

    def pread_ns(self):
        """Read all and take the counters; CPU nanoseconds."""
        cdef char[4096] page
        cdef c_Report found
        cdef unsigned long long begin = c_thread_cpu_ns()
        cdef int64_t total = 0
        cdef int n
        for n in range(self.count):
            if pread(self.descriptors[n], page, TM_REPORT_BYTES, 0) == TM_REPORT_BYTES:
                if c_report_counters(page, TM_REPORT_BYTES, &found):
                    total += found.completed_count
        self._check(total)
        return c_thread_cpu_ns() - begin

    cdef int _check(self, int64_t total) except -1:
        if total != self.count:
            raise ValueError(f"{total} of {self.count} blocks were read")
        return 0
