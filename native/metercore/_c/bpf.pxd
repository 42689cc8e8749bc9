"""Declarations of bpf(2) and of what decides whether it may be used.

The layouts are ABI and stand here rather than come from <linux/bpf.h>: a C library's kernel headers may be older than the
members needed, and an enumerator, unlike a macro, cannot be asked for.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    /* include/uapi/linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, bpf_func_id */
    #define TM_BPF_PROG_LOAD 5
    #define TM_BPF_LINK_CREATE 28
    #define TM_BPF_ITER_CREATE 33
    #define TM_BPF_PROG_TYPE_TRACING 26
    #define TM_BPF_TRACE_ITER 28
    #define TM_BPF_FUNC_SEQ_WRITE 127

    /* struct bpf_insn */
    struct tm_bpf_instruction {
        uint8_t code;
        uint8_t target : 4, source : 4;
        int16_t offset;
        int32_t immediate;
    };

    /* union bpf_attr as BPF_PROG_LOAD, BPF_LINK_CREATE and BPF_ITER_CREATE read it; a kernel takes zeros for the rest */
    struct tm_bpf_load {
        uint32_t prog_type, insn_cnt;
        uint64_t insns, license;
        uint32_t log_level, log_size;
        uint64_t log_buf;
        uint32_t kern_version, prog_flags;
        char prog_name[16];
        uint32_t prog_ifindex, expected_attach_type, prog_btf_fd, func_info_rec_size;
        uint64_t func_info;
        uint32_t func_info_cnt, line_info_rec_size;
        uint64_t line_info;
        uint32_t line_info_cnt, attach_btf_id, attach_prog_fd, unused;
    };
    struct tm_bpf_link {
        uint32_t prog_fd, target_fd, attach_type, flags;
    };
    struct tm_bpf_iter {
        uint32_t link_fd, flags;
    };

    /* include/uapi/linux/capability.h: version 3, of two words; CAP_PERFMON and CAP_BPF are of Linux 5.8 */
    #define TM_CAPABILITY_VERSION 0x20080522
    #define TM_CAP_SYS_ADMIN 21
    #define TM_CAP_PERFMON 38
    #define TM_CAP_BPF 39
    struct tm_capability_header { uint32_t version; int pid; };
    struct tm_capability_data { uint32_t effective, permitted, inheritable; };
    """
    enum:
        TM_BPF_PROG_LOAD
        TM_BPF_LINK_CREATE
        TM_BPF_ITER_CREATE
        TM_BPF_PROG_TYPE_TRACING
        TM_BPF_TRACE_ITER
        TM_BPF_FUNC_SEQ_WRITE
        TM_CAPABILITY_VERSION
        TM_CAP_SYS_ADMIN
        TM_CAP_PERFMON
        TM_CAP_BPF
    struct tm_bpf_instruction:
        uint8_t code
        uint8_t target
        uint8_t source
        int16_t offset
        int32_t immediate
    struct tm_bpf_load:
        uint32_t prog_type
        uint32_t insn_cnt
        uint64_t insns
        uint64_t license
        uint32_t log_level
        uint32_t log_size
        uint64_t log_buf
        char prog_name[16]
        uint32_t expected_attach_type
        uint32_t attach_btf_id
    struct tm_bpf_link:
        uint32_t prog_fd
        uint32_t attach_type
    struct tm_bpf_iter:
        uint32_t link_fd
    struct tm_capability_header:
        uint32_t version
        int pid
    struct tm_capability_data:
        uint32_t effective
    long syscall(long number, ...) nogil
    ssize_t readlink(const char *path, char *target, size_t size) nogil
    int getppid() nogil
    long SYS_bpf
    long SYS_capget
