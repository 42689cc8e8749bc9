# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One look at all GPUs: which processes use how much memory and time of each.

What the driver refuses to tell is absent. A call that fails because the driver or a GPU has gone ends the look, or leaves out
that GPU, and the caller connects anew. Answers are not trusted: counts end at the array, percentages at 100, texts at their room.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memset

from metercore._c.nvml cimport (
    TM_NVML_DRIVER_NOT_LOADED,
    TM_NVML_GPU_IS_LOST,
    TM_NVML_IRQ_ISSUE,
    TM_NVML_LIB_RM_VERSION_MISMATCH,
    TM_NVML_NOT_FOUND,
    TM_NVML_OPERATING_SYSTEM,
    TM_NVML_RESET_REQUIRED,
    TM_NVML_SUCCESS,
    TM_NVML_TIMEOUT,
    TM_NVML_UNINITIALIZED,
    TM_NVML_UNKNOWN,
    tm_nvml_device,
    tm_nvml_memory,
    tm_nvml_processes,
    tm_nvml_sample,
)
from metercore.clock cimport c_monotonic_ns, c_realtime_ns
from metercore.nspid cimport c_pid_here, c_pids_close, c_pids_resolve
from metercore.nvml cimport c_answer_free, c_nvml_process, c_nvml_processes, c_nvml_samples

cdef uint64_t ABSENT = 0xFFFFFFFFFFFFFFFFu  # "not told", as NVML writes it (NVML_VALUE_NOT_AVAILABLE) and as our records do
cdef uint64_t SECOND_US = 1000000u
# No sample comes from so far ahead; one that seems to has a timestamp of garbage, or somebody has set the clock back.
cdef uint64_t AHEAD_US = 10000000u

cdef enum:
    MIG_INSTANCES = 64      # far more than the 7 that a GPU can be divided into
    NO_PERCENTAGE = 1000    # rounding gives a little over 100; drivers also return garbage (github.com/Syllo/nvtop/issues/110)


cdef bint c_is_lost(int code) noexcept nogil:
    """Tell whether one GPU has gone, while others may still be there."""
    return code == TM_NVML_GPU_IS_LOST or code == TM_NVML_RESET_REQUIRED


cdef bint c_is_down(int code) noexcept nogil:
    """Tell whether the driver or the connection to it has gone."""
    return (
        code == TM_NVML_UNINITIALIZED
        or code == TM_NVML_DRIVER_NOT_LOADED
        or code == TM_NVML_TIMEOUT
        or code == TM_NVML_IRQ_ISSUE
        or code == TM_NVML_OPERATING_SYSTEM
        or code == TM_NVML_LIB_RM_VERSION_MISMATCH
        or code == TM_NVML_UNKNOWN
    )


cdef int c_failed(c_GpuLook *look, const char *what, int code) noexcept nogil:
    look.what = what
    return code


cdef int c_count(c_GpuLook *look) noexcept nogil:
    cdef unsigned int count = 0
    cdef int code = look.nvml.count(&count)
    look.told_count = count
    return c_failed(look, b"nvmlDeviceGetCount", code) if code != TM_NVML_SUCCESS else code


cdef void c_describe(c_GpuLook *look, c_Gpu *gpu, tm_nvml_device handle) noexcept nogil:
    cdef tm_nvml_memory memory
    if look.nvml.uuid == NULL or look.nvml.uuid(handle, gpu.uuid, sizeof(gpu.uuid)) != TM_NVML_SUCCESS:
        gpu.uuid[0] = 0
    if look.nvml.name == NULL or look.nvml.name(handle, gpu.name, sizeof(gpu.name)) != TM_NVML_SUCCESS:
        gpu.name[0] = 0
    gpu.uuid[sizeof(gpu.uuid) - 1] = gpu.name[sizeof(gpu.name) - 1] = 0
    memset(&memory, 0, sizeof(memory))
    if look.nvml.memory != NULL and look.nvml.memory(handle, &memory) == TM_NVML_SUCCESS and memory.total > 0:
        gpu.memory_bytes = memory.total


cdef int c_discover(c_GpuLook *look) noexcept nogil:
    """Open and describe all GPUs; 0, or the code that says that there is no driver."""
    cdef uint32_t n
    cdef int code = c_count(look)
    look.gpu_count = 0
    if code != TM_NVML_SUCCESS:
        return code
    for n in range(min(look.told_count, <uint32_t>WATCHED_GPUS)):
        memset(&look.gpus[n], 0, sizeof(c_Gpu))
        look.gpus[n].index = <int32_t>n
        look.gpus[n].memory_bytes = ABSENT
        look.newest_us[n] = 0
        look.handles[n] = NULL
        code = look.nvml.handle(n, &look.handles[n])
        if c_is_down(code):
            return c_failed(look, b"nvmlDeviceGetHandleByIndex", code)
        if code == TM_NVML_SUCCESS:
            c_describe(look, &look.gpus[n], look.handles[n])
        else:
            # Another one's GPU (a container's device cgroup), or a lost one: the others go on.
            look.handles[n] = NULL
            look.gpus[n].lost = c_is_lost(code)
        look.gpu_count = n + 1
    return TM_NVML_SUCCESS


cdef int c_say(c_GpuLook *look, int32_t pid, int32_t gpu, int32_t instance, uint64_t value) noexcept nogil:
    cdef c_Said *more
    cdef uint32_t room
    if pid <= 0:
        return 0
    if look.said_count == look.said_room:
        room = look.said_room * 2 + 256
        more = <c_Said *>realloc(look.said, room * sizeof(c_Said))
        if more == NULL:
            return -ENOMEM
        look.said = more
        look.said_room = room
    look.said[look.said_count].pid = pid
    look.said[look.said_count].gpu = gpu
    look.said[look.said_count].instance = instance
    look.said[look.said_count].value = value
    look.said_count += 1
    return 0


cdef int c_list(
    c_GpuLook *look, tm_nvml_processes call, uint32_t stride, tm_nvml_device device, int32_t gpu, int32_t instance
) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t pid = 0
    cdef uint64_t memory_bytes = 0
    cdef uint32_t n
    cdef int code = c_nvml_processes(call, device, &look.answer, &count)
    for n in range(count):
        c_nvml_process(&look.answer, stride, n, &pid, &memory_bytes)
        if c_say(look, <int32_t>pid, gpu, instance, memory_bytes) != 0:
            return -ENOMEM
    return code


cdef int c_list_both(c_GpuLook *look, tm_nvml_device device, int32_t gpu, int32_t instance) noexcept nogil:
    """List who computes on a device and who draws on it."""
    cdef int code = c_list(look, look.nvml.compute, look.nvml.compute_stride, device, gpu, instance)
    cdef int other
    if code != TM_NVML_SUCCESS:
        return c_failed(look, b"nvmlDeviceGetComputeRunningProcesses", code)
    if look.nvml.graphics == NULL:
        return code
    other = c_list(look, look.nvml.graphics, look.nvml.graphics_stride, device, gpu, instance)
    # A GPU that only computes refuses this one.
    return c_failed(look, b"nvmlDeviceGetGraphicsRunningProcesses", other) if c_is_down(other) or c_is_lost(other) else code


cdef int c_look_mig(c_GpuLook *look, int32_t gpu, bint *measured) noexcept nogil:
    """List the processes of each MIG device; some may be refused, being another tenant's."""
    cdef unsigned int count = 0
    cdef unsigned int n
    cdef uint32_t refused = 0
    cdef uint32_t listed = 0
    cdef tm_nvml_device device
    cdef int code = look.nvml.mig_count(look.handles[gpu], &count)
    measured[0] = 0
    if code != TM_NVML_SUCCESS:
        return c_failed(look, b"nvmlDeviceGetMaxMigDeviceCount", code)
    for n in range(min(count, <unsigned int>MIG_INSTANCES)):
        device = NULL
        code = look.nvml.mig_handle(look.handles[gpu], n, &device)
        if code == TM_NVML_NOT_FOUND:
            continue  # MIG devices need not be numbered without gaps
        if code == TM_NVML_SUCCESS:
            code = c_list_both(look, device, gpu, <int32_t>n)
        else:
            look.what = b"nvmlDeviceGetMigDeviceHandleByIndex"
        if c_is_down(code) or c_is_lost(code):
            return code
        if code == TM_NVML_SUCCESS:
            listed += 1
        else:
            refused += 1
    measured[0] = listed > 0 or refused == 0
    return TM_NVML_SUCCESS


cdef int c_look_utilization(c_GpuLook *look, int32_t gpu, uint64_t interval_ns, bint *measured) noexcept nogil:
    """Take the utilisation samples since the look before. Nobody used it (NOT_FOUND) is a measurement; a refusal is none."""
    cdef uint64_t now_us = <uint64_t>(c_realtime_ns() // 1000)
    cdef uint64_t since_us = look.newest_us[gpu]
    # The driver remembers samples of long ago; of those only the recent ones tell anything about now.
    cdef uint64_t oldest_us = 0
    cdef uint64_t newest_us
    cdef uint32_t count = 0
    cdef uint32_t n
    cdef tm_nvml_sample *sample
    cdef int code
    if since_us > now_us + AHEAD_US:
        since_us = 0
    if since_us == 0:
        oldest_us = now_us - min(interval_ns // 1000 + SECOND_US, now_us)
    newest_us = since_us
    code = c_nvml_samples(&look.nvml, look.handles[gpu], since_us, &look.answer, &count)
    measured[0] = code == TM_NVML_SUCCESS or code == TM_NVML_NOT_FOUND
    for n in range(count):
        sample = &look.answer.samples[n]
        # Some drivers repeat what was seen, or fill up with garbage (github.com/Syllo/nvtop/issues/110).
        if sample.timestamp <= since_us or sample.timestamp > now_us + AHEAD_US or sample.sm >= NO_PERCENTAGE:
            continue
        newest_us = max(newest_us, <uint64_t>sample.timestamp)
        if sample.timestamp >= oldest_us and c_say(look, <int32_t>sample.pid, gpu, -1, min(sample.sm, 100u)) != 0:
            return -ENOMEM
    look.newest_us[gpu] = newest_us
    # Unknown Error is what some drivers say to this one call only: then it is absent, and the rest goes on.
    return c_failed(look, b"nvmlDeviceGetProcessUtilization", code) if code != TM_NVML_UNKNOWN else TM_NVML_SUCCESS


cdef int c_look_gpu(c_GpuLook *look, int32_t gpu, uint64_t interval_ns) noexcept nogil:
    """Look at one GPU; 0, or the code that says that it or the driver has gone."""
    cdef c_Gpu *facts = &look.gpus[gpu]
    cdef unsigned int current = 0
    cdef unsigned int pending = 0
    cdef bint memory = 0
    cdef bint utilization = 0
    cdef int code = TM_NVML_SUCCESS
    if look.nvml.mig_mode != NULL and look.nvml.mig_count != NULL and look.nvml.mig_handle != NULL:
        code = look.nvml.mig_mode(look.handles[gpu], &current, &pending)
        if c_is_down(code) or c_is_lost(code):
            return c_failed(look, b"nvmlDeviceGetMigMode", code)
    facts.mig = code == TM_NVML_SUCCESS and current == 1
    if facts.mig:
        code = c_look_mig(look, gpu, &memory)
    else:
        code = c_list_both(look, look.handles[gpu], gpu, 0)
        memory = code == TM_NVML_SUCCESS
    if c_is_down(code) or c_is_lost(code):
        return code
    # Not available under MIG (nvmlDeviceGetProcessUtilization).
    if look.nvml.utilization != NULL and not facts.mig:
        code = c_look_utilization(look, gpu, interval_ns, &utilization)
        if c_is_down(code) or c_is_lost(code):
            return code
    facts.memory_measured = memory
    facts.utilization_measured = utilization
    return TM_NVML_SUCCESS


cdef int c_by_process(const void *left, const void *right) noexcept nogil:
    cdef const c_Said *a = <const c_Said *>left
    cdef const c_Said *b = <const c_Said *>right
    if a.pid != b.pid:
        return -1 if a.pid < b.pid else 1
    if a.gpu != b.gpu:
        return -1 if a.gpu < b.gpu else 1
    return (a.instance > b.instance) - (a.instance < b.instance)


cdef int c_by_pid(const void *left, const void *right) noexcept nogil:
    cdef const c_GpuProcess *a = <const c_GpuProcess *>left
    cdef const c_GpuProcess *b = <const c_GpuProcess *>right
    if a.pid != b.pid:
        return -1 if a.pid < b.pid else 1
    return (a.gpu > b.gpu) - (a.gpu < b.gpu)


cdef uint32_t c_merge(const c_GpuLook *look, uint32_t at, c_GpuProcess *use) noexcept nogil:
    """Make one use of all that was said of a process on a GPU, from `at` on; returns where the next one begins."""
    cdef const c_Said *first = &look.said[at]
    cdef uint64_t held_bytes          # on one instance
    cdef uint64_t sum_percent = 0
    cdef uint32_t sample_count = 0
    cdef int32_t instance
    use.pid = first.pid
    use.gpu = first.gpu
    use.start_ticks = 0
    use.memory_bytes = 0 if look.gpus[use.gpu].memory_measured else ABSENT
    use.utilization_percent = 0.0 if look.gpus[use.gpu].utilization_measured else -1.0
    while at < look.said_count and look.said[at].pid == use.pid and look.said[at].gpu == use.gpu:
        instance = look.said[at].instance
        if instance < 0:
            sum_percent += look.said[at].value
            sample_count += 1
            at += 1
            continue
        held_bytes = ABSENT
        while (
            at < look.said_count
            and look.said[at].pid == use.pid
            and look.said[at].gpu == use.gpu
            and look.said[at].instance == instance
        ):
            # Who computes and draws stands in both lists with the same memory.
            if look.said[at].value != ABSENT:
                held_bytes = look.said[at].value if held_bytes == ABSENT else max(held_bytes, look.said[at].value)
            at += 1
        if held_bytes == ABSENT or use.memory_bytes == ABSENT:
            use.memory_bytes = ABSENT  # a part that is not told makes the sum unknown
        else:
            use.memory_bytes += held_bytes
    if sample_count > 0 and look.gpus[use.gpu].utilization_measured:
        use.utilization_percent = <double>sum_percent / sample_count
    return at


cdef int c_identify(c_GpuLook *look) noexcept nogil:
    """Replace reported pids by those here, and note when each process started."""
    cdef uint32_t n
    cdef uint32_t count = 0
    cdef int32_t reported = 0
    cdef int32_t pid = 0
    cdef uint64_t start_ticks = 0
    cdef int32_t *more
    if look.reported_room < look.use_count:
        more = <int32_t *>realloc(look.reported, look.use_room * sizeof(int32_t))
        if more == NULL:
            return -ENOMEM
        look.reported = more
        look.reported_room = look.use_room
    for n in range(look.use_count):
        if count == 0 or look.reported[count - 1] != look.uses[n].pid:
            look.reported[count] = look.uses[n].pid
            count += 1
    if c_pids_resolve(&look.pids, look.reported, count, c_monotonic_ns()) != 0:
        return -ENOMEM
    for n in range(look.use_count):
        if look.uses[n].pid != reported:
            reported = look.uses[n].pid
            pid = c_pid_here(&look.pids, reported, &start_ticks)
        look.uses[n].pid = pid
        look.uses[n].start_ticks = start_ticks
    if look.pids.nested and look.use_count > 0:
        qsort(look.uses, look.use_count, sizeof(c_GpuProcess), c_by_pid)
    return 0


cdef int c_gather(c_GpuLook *look) noexcept nogil:
    """Turn all that was said into one use per process and GPU; 0 or -ENOMEM."""
    cdef c_GpuProcess *more
    cdef uint32_t at = 0
    if look.said_count > 0:  # qsort takes no NULL, and without any there is no list
        qsort(look.said, look.said_count, sizeof(c_Said), c_by_process)
    if look.use_room < look.said_count:
        more = <c_GpuProcess *>realloc(look.uses, look.said_room * sizeof(c_GpuProcess))
        if more == NULL:
            return -ENOMEM
        look.uses = more
        look.use_room = look.said_room
    while at < look.said_count:
        at = c_merge(look, at, &look.uses[look.use_count])
        look.use_count += 1
    return c_identify(look)


cdef int c_look(c_GpuLook *look, uint64_t interval_ns) noexcept nogil:
    """Look at all GPUs; 0, or the code that says that the driver has gone, or the only GPU, or memory."""
    cdef uint32_t n, before, opened
    cdef uint32_t told_before = look.told_count
    cdef int code = c_count(look)
    look.use_count = look.said_count = look.lost_count = 0
    if code == TM_NVML_SUCCESS and look.told_count != told_before:
        code = c_discover(look)
    if code != TM_NVML_SUCCESS:
        return code
    opened = 0
    for n in range(look.gpu_count):
        look.gpus[n].memory_measured = look.gpus[n].utilization_measured = 0
        if look.handles[n] != NULL:
            before = look.said_count
            code = c_look_gpu(look, <int32_t>n, interval_ns)
            if c_is_down(code):
                return code
            look.gpus[n].lost = c_is_lost(code)
            if look.gpus[n].lost:
                look.said_count = before
            else:
                opened += 1
        look.lost_count += look.gpus[n].lost
    if look.lost_count > 0 and opened == 0:
        return code if c_is_lost(code) else c_failed(look, b"nvmlDeviceGetHandleByIndex", TM_NVML_GPU_IS_LOST)
    return c_gather(look)


cdef void c_look_free(c_GpuLook *look) noexcept nogil:
    """Free the rooms; the library is left alone."""
    c_answer_free(&look.answer)
    c_pids_close(&look.pids)
    free(look.said)
    free(look.reported)
    free(look.uses)
    look.said = NULL
    look.reported = NULL
    look.uses = NULL
