cdef int c_open_beneath(int directory, const char *path, int flags) noexcept nogil
