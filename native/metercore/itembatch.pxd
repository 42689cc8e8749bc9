from libc.stddef cimport size_t

from metercore._c.itemlog cimport tm_item_record
from metercore.itemscan cimport c_Found

cdef class Batch:
    cdef c_Found found               # ours; its records are sound
    cdef readonly dict offsets
    cdef const tm_item_record *c_record(self, size_t index) noexcept nogil
