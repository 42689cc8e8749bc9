from metercore._c.itemlog cimport tm_item_record
from metercore.itemseries cimport c_Series, c_Texts

cdef class ItemLog:
    cdef c_Series series
    cdef str report         # the report block beside the directory, until it is needed; "" = none
    cdef object block       # it, once something was dropped, or None
    cdef int c_put(self, tm_item_record *head, const c_Texts *texts) except -1
