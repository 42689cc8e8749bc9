cdef bint c_may_keep() noexcept nogil
cdef void c_keep_closed(int *descriptor) noexcept nogil
cdef ssize_t c_read_kept_in(
    int *descriptor, const char *directory, const char *name, char *buffer, size_t size
) noexcept nogil
cdef ssize_t c_read_kept(int *descriptor, const char *path, char *buffer, size_t size) noexcept nogil
cdef ssize_t c_read_path(const char *path, char *buffer, size_t size) noexcept nogil
cdef void c_keep_open(int *descriptor, const char *path) noexcept nogil
