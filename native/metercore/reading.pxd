from metercore.slots cimport c_View

cdef class Reading:
    cdef c_View view
