cdef object raise_errno(int error, object path)
