"""GCC and Clang atomic builtins: https://gcc.gnu.org/onlinedocs/gcc/_005f_005fatomic-Builtins.html"""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from * nogil:
    int __ATOMIC_RELAXED
    int __ATOMIC_ACQUIRE
    int __ATOMIC_RELEASE
    int __ATOMIC_ACQ_REL
    int64_t c_fetch_add_i64 "__atomic_fetch_add"(int64_t *target, int64_t value, int order)
    void c_store_i64 "__atomic_store_n"(int64_t *target, int64_t value, int order)
    int64_t c_load_i64 "__atomic_load_n"(const int64_t *target, int order)
    uint64_t c_load_u64 "__atomic_load_n"(const uint64_t *target, int order)
    void c_store_u64 "__atomic_store_n"(uint64_t *target, uint64_t value, int order)
    uint32_t c_load_u32 "__atomic_load_n"(const uint32_t *target, int order)
    void c_store_u32 "__atomic_store_n"(uint32_t *target, uint32_t value, int order)
    bint c_swap_if_u32 "__atomic_compare_exchange_n"(
        uint32_t *target, uint32_t *expected, uint32_t wanted, bint weak, int success, int failure
    )
    int64_t c_fetch_sub_i64 "__atomic_fetch_sub"(int64_t *target, int64_t value, int order)
