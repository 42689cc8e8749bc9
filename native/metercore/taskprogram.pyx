# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The program that the kernel runs for each task of the system (a BPF iterator), assembled here for the kernel at hand.

Where things are in its structures comes from its own BTF, so no compiler and no library is needed. All that can refuse it
(rights, namespaces, old or locked kernels, unknown layouts) is told apart and put into words.
"""

from libc.errno cimport EINVAL, ENOSYS, EOPNOTSUPP, EPERM, errno
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memmove, memset, strcmp, strcspn, strerror, strncmp

from metercore._c.bpf cimport (
    SYS_bpf,
    SYS_capget,
    TM_BPF_FUNC_SEQ_WRITE,
    TM_BPF_ITER_CREATE,
    TM_BPF_LINK_CREATE,
    TM_BPF_PROG_LOAD,
    TM_BPF_PROG_TYPE_TRACING,
    TM_BPF_TRACE_ITER,
    TM_CAP_BPF,
    TM_CAP_PERFMON,
    TM_CAP_SYS_ADMIN,
    TM_CAPABILITY_VERSION,
    readlink,
    syscall,
    tm_bpf_instruction,
    tm_bpf_iter,
    tm_bpf_link,
    tm_bpf_load,
    tm_capability_data,
    tm_capability_header,
)
from metercore._c.linux cimport _SC_NPROCESSORS_ONLN, close, sysconf
from metercore.btf cimport (
    BTF_FUNC,
    c_Btf,
    c_btf_enumerator,
    c_btf_field,
    c_btf_free,
    c_btf_id,
    c_btf_load,
    c_Field,
)

cdef const char *BTF_PATH = b"/sys/kernel/btf/vmlinux"
# PROC_PID_INIT_INO, include/linux/proc_ns.h; the same on every kernel.
cdef const char *INITIAL_NAMESPACE = b"pid:[4026531836]"
cdef const char *LICENSE = b"GPL"
cdef uint32_t LOG_BYTES = 65536


# ------------------------------------------------------------------------------------------------------------ layout


cdef struct c_Layout:
    uint32_t program_id      # of the function that iterators of tasks attach to
    int16_t context_meta
    int16_t context_task
    int16_t meta_seq
    int16_t pid
    int16_t tgid
    int16_t run_ns
    int16_t start_ns
    int16_t exit_state
    int16_t parent
    int16_t signal
    int16_t mm
    int16_t ended_ns
    int16_t children_user_ns
    int16_t children_system_ns
    int16_t thread_count
    int16_t[3] rss


cdef int c_place(
    const c_Btf *btf, const char *structure, const char *path, uint32_t size_bytes, int16_t *place, c_TaskProgram *program
) noexcept nogil:
    """Find a member that must have that size, where an instruction can reach it."""
    cdef c_Field field
    cdef int error = c_btf_field(btf, structure, path, &field)
    if error == 0 and (field.size_bytes != size_bytes or field.offset_bytes + size_bytes > 32767):
        error = -EOPNOTSUPP
    if error != 0:
        snprintf(
            program.reason,
            sizeof(program.reason),
            b"the layout of this kernel is not understood (%s.%s); please report its version",
            structure,
            path,
        )
        return -EOPNOTSUPP
    place[0] = <int16_t>field.offset_bytes
    return 0


cdef int c_place_rss(const c_Btf *btf, c_Layout *layout, c_TaskProgram *program) noexcept nogil:
    """Where the counters of file, anonymous and shared pages are; swapped ones (MM_SWAPENTS) are not resident."""
    cdef const char *names[3]
    cdef char[48] path
    cdef c_Field field
    cdef const char *form
    cdef int64_t index
    cdef int64_t online = sysconf(_SC_NPROCESSORS_ONLN)
    cdef int n, error
    names[0] = b"MM_FILEPAGES"
    names[1] = b"MM_ANONPAGES"
    names[2] = b"MM_SHMEMPAGES"
    if c_btf_field(btf, b"mm_struct", b"rss_stat[0].count", &field) == 0:
        # Linux 6.2 and later: each CPU keeps up to a batch of its own, see compute_batch_value() in lib/percpu_counter.c.
        form = b"rss_stat[%d].count"
        program.rss_error_pages = <uint32_t>(3 * online * max(32, 2 * online))
    else:
        # Before, each thread kept up to TASK_RSS_EVENTS_THRESH (mm/memory.c) of its own.
        form = b"rss_stat.count[%d].counter"
        program.rss_error_pages = 3 * 64
    for n in range(3):
        if c_btf_enumerator(btf, names[n], &index) != 0 or not 0 <= index < 16:
            index = 16  # not found, which c_place reports
        snprintf(path, sizeof(path), form, <int>index)
        error = c_place(btf, b"mm_struct", path, 8, &layout.rss[n], program)
        if error != 0:
            return error
    return 0


cdef int c_find_layout(c_Layout *layout, c_TaskProgram *program) noexcept nogil:
    cdef c_Btf btf
    cdef int64_t function
    cdef const char *why = b"not understood"
    cdef int error = c_btf_load(&btf, BTF_PATH)
    if error != 0:
        if error != -EINVAL and error != -EOPNOTSUPP:
            why = strerror(-error)
        snprintf(
            program.reason,
            sizeof(program.reason),
            b"/sys/kernel/btf/vmlinux: %s; needs a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys mounted",
            why,
        )
        return error
    function = c_btf_id(&btf, b"bpf_iter_task", BTF_FUNC)
    if function < 0:
        snprintf(program.reason, sizeof(program.reason), b"this kernel has no iterators of tasks; needs Linux 5.8 or later")
        error = -EOPNOTSUPP
    elif sizeof(void *) != 8:
        snprintf(program.reason, sizeof(program.reason), b"only 64-bit machines are supported")
        error = -EOPNOTSUPP
    else:
        layout.program_id = <uint32_t>function
        error = c_place_all(&btf, layout, program)
    c_btf_free(&btf)
    return error


cdef int c_place_all(const c_Btf *btf, c_Layout *layout, c_TaskProgram *program) noexcept nogil:
    if (
        c_place(btf, b"bpf_iter__task", b"meta", 8, &layout.context_meta, program) == 0
        and c_place(btf, b"bpf_iter__task", b"task", 8, &layout.context_task, program) == 0
        and c_place(btf, b"bpf_iter_meta", b"seq", 8, &layout.meta_seq, program) == 0
        and c_place(btf, b"task_struct", b"pid", 4, &layout.pid, program) == 0
        and c_place(btf, b"task_struct", b"tgid", 4, &layout.tgid, program) == 0
        and c_place(btf, b"task_struct", b"se.sum_exec_runtime", 8, &layout.run_ns, program) == 0
        and c_place(btf, b"task_struct", b"start_boottime", 8, &layout.start_ns, program) == 0
        and c_place(btf, b"task_struct", b"exit_state", 4, &layout.exit_state, program) == 0
        and c_place(btf, b"task_struct", b"real_parent", 8, &layout.parent, program) == 0
        and c_place(btf, b"task_struct", b"signal", 8, &layout.signal, program) == 0
        and c_place(btf, b"task_struct", b"mm", 8, &layout.mm, program) == 0
        and c_place(btf, b"signal_struct", b"sum_sched_runtime", 8, &layout.ended_ns, program) == 0
        and c_place(btf, b"signal_struct", b"cutime", 8, &layout.children_user_ns, program) == 0
        and c_place(btf, b"signal_struct", b"cstime", 8, &layout.children_system_ns, program) == 0
        and c_place(btf, b"signal_struct", b"nr_threads", 4, &layout.thread_count, program) == 0
    ):
        return c_place_rss(btf, layout, program)
    return -EOPNOTSUPP


# -------------------------------------------------------------------------------------------------------- instructions


# Opcodes: Documentation/bpf/standardization/instruction-set.rst.
cdef enum:
    LOAD_32 = 0x61           # target = *(u32 *)(source + offset)
    LOAD_64 = 0x79
    STORE_32 = 0x63          # *(u32 *)(target + offset) = source
    STORE_64 = 0x7B
    STORE_IMMEDIATE_32 = 0x62
    MOVE = 0xBF
    MOVE_IMMEDIATE = 0xB7
    ADD = 0x0F
    ADD_IMMEDIATE = 0x07
    NEGATE_32 = 0x84
    JUMP = 0x05
    JUMP_IF_ZERO = 0x15      # source is the immediate, always 0 here
    JUMP_IF_EQUAL = 0x1D
    CALL = 0x85
    EXIT = 0x95

cdef enum:
    R0 = 0                   # result
    R1 = 1                   # arguments, lost in a call
    R2 = 2
    R3 = 3
    TASK = 6                 # kept
    SEQ = 7
    SIGNAL = 8
    FRAME = 10               # end of the stack

cdef enum:
    MAX_INSTRUCTIONS = 64
    RECORD = -56             # the record on the stack: minus TASK_RECORD_BYTES

cdef struct c_Code:
    tm_bpf_instruction[MAX_INSTRUCTIONS] instructions
    int count


cdef int c_emit(
    c_Code *code, uint8_t opcode, uint8_t target, uint8_t source, int offset, int32_t immediate
) noexcept nogil:
    """Append an instruction; returns its number."""
    cdef tm_bpf_instruction *at = &code.instructions[code.count]
    at.code = opcode
    at.target = target
    at.source = source
    at.offset = <int16_t>offset
    at.immediate = immediate
    code.count += 1
    return code.count - 1


cdef void c_land(c_Code *code, int jump) noexcept nogil:
    """Let a jump lead to the next instruction."""
    code.instructions[jump].offset = <int16_t>(code.count - jump - 1)


cdef void c_copy_64(c_Code *code, uint8_t source, int offset, int place) noexcept nogil:
    """Copy a member to its place in the record."""
    c_emit(code, LOAD_64, R2, source, offset, 0)
    c_emit(code, STORE_64, FRAME, R2, RECORD + place, 0)


cdef void c_copy_32(c_Code *code, uint8_t source, int offset, int place) noexcept nogil:
    c_emit(code, LOAD_32, R2, source, offset, 0)
    c_emit(code, STORE_32, FRAME, R2, RECORD + place, 0)


cdef void c_assemble(c_Code *code, const c_Layout *layout) noexcept nogil:
    """Write the program; the places in the record are those of c_TaskRecord.

    Of task->signal and task->mm the first is there as long as the task, the second may be freed meanwhile: then its memory is
    read all the same, which BPF makes harmless, and the number is that of a process that has just ended.
    """
    cdef int no_task, is_leader, no_memory, is_thread
    cdef int n
    code.count = 0
    c_emit(code, LOAD_64, TASK, R1, layout.context_task, 0)
    no_task = c_emit(code, JUMP_IF_ZERO, TASK, 0, 0, 0)  # the call that marks the end
    c_emit(code, LOAD_64, SEQ, R1, layout.context_meta, 0)
    c_emit(code, LOAD_64, SEQ, SEQ, layout.meta_seq, 0)
    c_emit(code, LOAD_64, SIGNAL, TASK, layout.signal, 0)
    c_copy_64(code, TASK, layout.run_ns, 8)
    c_copy_64(code, SIGNAL, layout.ended_ns, 16)
    c_emit(code, LOAD_32, R1, TASK, layout.tgid, 0)
    c_emit(code, LOAD_32, R2, TASK, layout.pid, 0)
    is_leader = c_emit(code, JUMP_IF_EQUAL, R1, R2, 0, 0)
    c_emit(code, NEGATE_32, R1, 0, 0, 0)
    c_emit(code, STORE_32, FRAME, R1, RECORD, 0)
    c_emit(code, STORE_IMMEDIATE_32, FRAME, 0, RECORD + 4, 0)
    c_emit(code, MOVE_IMMEDIATE, R3, 0, 0, THREAD_RECORD_BYTES)
    is_thread = c_emit(code, JUMP, 0, 0, 0, 0)
    c_land(code, is_leader)
    c_emit(code, STORE_32, FRAME, R1, RECORD, 0)
    c_emit(code, LOAD_64, R1, TASK, layout.parent, 0)
    c_copy_32(code, R1, layout.tgid, 4)
    c_copy_64(code, TASK, layout.start_ns, 24)
    c_emit(code, LOAD_64, R2, SIGNAL, layout.children_user_ns, 0)
    c_emit(code, LOAD_64, R3, SIGNAL, layout.children_system_ns, 0)
    c_emit(code, ADD, R2, R3, 0, 0)
    c_emit(code, STORE_64, FRAME, R2, RECORD + 32, 0)
    c_emit(code, MOVE_IMMEDIATE, R2, 0, 0, 0)
    c_emit(code, LOAD_64, R1, TASK, layout.mm, 0)
    no_memory = c_emit(code, JUMP_IF_ZERO, R1, 0, 0, 0)  # kernel threads and zombies
    for n in range(3):
        c_emit(code, LOAD_64, R3, R1, layout.rss[n], 0)
        c_emit(code, ADD, R2, R3, 0, 0)
    c_land(code, no_memory)
    c_emit(code, STORE_64, FRAME, R2, RECORD + 40, 0)
    c_copy_32(code, SIGNAL, layout.thread_count, 48)
    c_copy_32(code, TASK, layout.exit_state, 52)
    c_emit(code, MOVE_IMMEDIATE, R3, 0, 0, TASK_RECORD_BYTES)
    c_land(code, is_thread)
    c_emit(code, MOVE, R1, SEQ, 0, 0)
    c_emit(code, MOVE, R2, FRAME, 0, 0)
    c_emit(code, ADD_IMMEDIATE, R2, 0, 0, RECORD)
    c_emit(code, CALL, 0, 0, 0, TM_BPF_FUNC_SEQ_WRITE)
    c_land(code, no_task)
    c_emit(code, MOVE_IMMEDIATE, R0, 0, 0, 0)
    c_emit(code, EXIT, 0, 0, 0, 0)


# ------------------------------------------------------------------------------------------------------------- loading


cdef int c_check_rights(c_TaskProgram *program) noexcept nogil:
    """Refuse early what the kernel would refuse, or answer wrongly: an iterator sees the ids of its own pid namespace only."""
    cdef tm_capability_header header
    cdef tm_capability_data[2] data
    cdef char[64] namespace
    cdef ssize_t size
    cdef bint allowed
    header.version = TM_CAPABILITY_VERSION
    header.pid = 0
    memset(data, 0, sizeof(data))
    syscall(SYS_capget, &header, data)
    allowed = (data[0].effective >> TM_CAP_SYS_ADMIN) & 1
    allowed = allowed or ((data[1].effective >> (TM_CAP_BPF - 32)) & 1 and (data[1].effective >> (TM_CAP_PERFMON - 32)) & 1)
    if not allowed:
        snprintf(
            program.reason,
            sizeof(program.reason),
            b"not permitted; needs CAP_BPF and CAP_PERFMON, such as by AmbientCapabilities=CAP_BPF CAP_PERFMON of systemd",
        )
        return -EPERM
    size = readlink(b"/proc/self/ns/pid", namespace, sizeof(namespace) - 1)
    namespace[size if size > 0 else 0] = 0
    if strcmp(namespace, INITIAL_NAMESPACE) != 0:
        snprintf(
            program.reason,
            sizeof(program.reason),
            b"not in the initial pid namespace; run outside of containers, or with the pid namespace of the host",
        )
        return -EOPNOTSUPP
    return 0


cdef void c_last_line(char *log) noexcept nogil:
    """Leave of the verifier's log the last line before its statistics."""
    cdef size_t begin = 0
    cdef size_t size = 0
    cdef size_t at = 0
    cdef size_t length
    while log[at] != 0:
        length = strcspn(log + at, b"\n")
        if length > 0 and strncmp(log + at, b"processed ", 10) != 0:
            begin = at
            size = length
        at += length + (log[at + length] != 0)
    memmove(log, log + begin, size)
    log[size] = 0


cdef int c_load(const c_Code *code, uint32_t program_id, c_TaskProgram *program) noexcept nogil:
    """Load the program; its descriptor or -errno."""
    cdef tm_bpf_load request
    cdef char *log
    cdef const char *complaint = b"no memory for its log"
    cdef long descriptor
    cdef int error
    memset(&request, 0, sizeof(request))
    request.prog_type = TM_BPF_PROG_TYPE_TRACING
    request.expected_attach_type = TM_BPF_TRACE_ITER
    request.attach_btf_id = program_id
    request.insns = <uint64_t>&code.instructions[0]
    request.insn_cnt = <uint32_t>code.count
    request.license = <uint64_t>LICENSE  # bpf_seq_write() is open to such programs only; it says nothing about this file
    snprintf(request.prog_name, sizeof(request.prog_name), b"taskmeter")
    descriptor = syscall(SYS_bpf, <long>TM_BPF_PROG_LOAD, &request, <long>sizeof(request))
    if descriptor >= 0:
        return <int>descriptor
    error = errno
    if error == ENOSYS:
        snprintf(program.reason, sizeof(program.reason), b"this kernel, or a filter of system calls, has no bpf(2)")
        return -error
    if error == EPERM:
        snprintf(
            program.reason,
            sizeof(program.reason),
            b"bpf(2) is refused in spite of the capabilities: a user namespace, kernel lockdown, a security module or seccomp, "
            b"or before Linux 5.11 a small RLIMIT_MEMLOCK",
        )
        return -error
    log = <char *>calloc(1, LOG_BYTES)
    if log != NULL:
        request.log_buf = <uint64_t>log
        request.log_size = LOG_BYTES
        request.log_level = 1
        descriptor = syscall(SYS_bpf, <long>TM_BPF_PROG_LOAD, &request, <long>sizeof(request))
        if descriptor >= 0:
            free(log)
            return <int>descriptor
        log[LOG_BYTES - 1] = 0
        c_last_line(log)
        complaint = log
    snprintf(
        program.reason,
        sizeof(program.reason),
        b"the kernel refused the program: %s (%.300s); please report its version",
        strerror(error),
        complaint,
    )
    free(log)
    return -error


cdef int c_task_program_open(c_TaskProgram *program) noexcept nogil:
    """Load the program and keep it by a link; 0, or -errno and the reason in words."""
    cdef c_Layout layout
    cdef c_Code code
    cdef tm_bpf_link request
    cdef long link
    cdef int descriptor, error
    memset(program, 0, sizeof(c_TaskProgram))
    program.link = -1
    error = c_check_rights(program)
    if error == 0:
        error = c_find_layout(&layout, program)
    if error != 0:
        return error
    c_assemble(&code, &layout)
    descriptor = c_load(&code, layout.program_id, program)
    if descriptor < 0:
        return descriptor
    memset(&request, 0, sizeof(request))
    request.prog_fd = <uint32_t>descriptor
    request.attach_type = TM_BPF_TRACE_ITER
    link = syscall(SYS_bpf, <long>TM_BPF_LINK_CREATE, &request, <long>sizeof(request))
    error = errno
    close(descriptor)  # the link keeps the program
    if link < 0:
        snprintf(program.reason, sizeof(program.reason), b"the iterator cannot be attached: %s", strerror(error))
        return -error
    program.link = <int>link
    return 0


cdef int c_task_program_iterate(const c_TaskProgram *program) noexcept nogil:
    """Begin a pass over all tasks; the descriptor to read it from, close-on-exec, or -errno. One that ended cannot begin anew."""
    cdef tm_bpf_iter request
    cdef long descriptor
    memset(&request, 0, sizeof(request))
    request.link_fd = <uint32_t>program.link
    descriptor = syscall(SYS_bpf, <long>TM_BPF_ITER_CREATE, &request, <long>sizeof(request))
    return <int>descriptor if descriptor >= 0 else -errno


cdef void c_task_program_close(c_TaskProgram *program) noexcept nogil:
    if program.link >= 0:
        close(program.link)
    program.link = -1
