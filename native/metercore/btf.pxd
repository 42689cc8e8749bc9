from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    BTF_INT = 1             # enum of the same names in include/uapi/linux/btf.h
    BTF_PTR = 2
    BTF_ARRAY = 3
    BTF_STRUCT = 4
    BTF_UNION = 5
    BTF_ENUM = 6
    BTF_TYPEDEF = 8
    BTF_VOLATILE = 9
    BTF_CONST = 10
    BTF_RESTRICT = 11
    BTF_FUNC = 12
    BTF_FUNC_PROTO = 13
    BTF_VAR = 14
    BTF_DATASEC = 15
    BTF_DECL_TAG = 17
    BTF_TYPE_TAG = 18
    BTF_ENUM64 = 19

cdef struct c_Btf:
    uint8_t *data           # owned
    uint32_t strings_at
    uint32_t strings_bytes
    uint32_t *places        # where in data each type stands, by id; 0 is void and stands nowhere
    uint32_t type_count     # void included

cdef struct c_Field:
    uint32_t offset_bytes
    uint32_t size_bytes
    uint32_t type_id        # typedefs and qualifiers taken off
    uint8_t kind

cdef int c_btf_parse(c_Btf *btf, const uint8_t *data, size_t size) noexcept nogil
cdef int c_btf_load(c_Btf *btf, const char *path) noexcept nogil
cdef void c_btf_free(c_Btf *btf) noexcept nogil
cdef int64_t c_btf_id(const c_Btf *btf, const char *name, uint8_t kind) noexcept nogil
cdef int c_btf_field(const c_Btf *btf, const char *structure, const char *path, c_Field *field) noexcept nogil
cdef int c_btf_enumerator(const c_Btf *btf, const char *name, int64_t *value) noexcept nogil

cdef class Btf:
    cdef c_Btf c
