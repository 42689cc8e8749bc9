from metercore.itemseries cimport c_Series

cdef class ItemLog:
    cdef c_Series series
