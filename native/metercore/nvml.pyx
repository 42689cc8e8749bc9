# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""NVML loaded at run time, and its calls made safe: they return NVML's codes, and what comes back stays within its room."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport atoi, free, realloc
from libc.string cimport memset, strchr, strncmp
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlclose, dlerror, dlopen, dlsym

from metercore._c.nvml cimport (
    TM_NVML_FUNCTION_NOT_FOUND,
    TM_NVML_INSUFFICIENT_SIZE,
    TM_NVML_SUCCESS,
    TM_NVML_TEXT_BYTES,
    tm_nvml_call,
    tm_nvml_device,
    tm_nvml_error_string,
    tm_nvml_handle,
    tm_nvml_memory_info,
    tm_nvml_mig_count,
    tm_nvml_mig_handle,
    tm_nvml_mig_mode,
    tm_nvml_process,
    tm_nvml_process_v1,
    tm_nvml_processes,
    tm_nvml_sample,
    tm_nvml_system_count,
    tm_nvml_system_text,
    tm_nvml_text,
    tm_nvml_utilization,
)

cdef enum:
    FIRST_ROOM = 128          # entries; a driver keeps 100 utilisation samples (github.com/NVIDIA/go-nvml/issues/11)
    MOST_ROOM = 1 << 20       # more processes than a kernel has; a larger claim is no answer
    ENTRY_BYTES = 40          # room per process, more than any layout of it so far
    MOST_TRIES = 4            # processes start between two calls; then the next look tries again


cdef void *c_symbol(const c_Nvml *nvml, const char *first, const char *second) noexcept nogil:
    """Find a function under its newer or its older name; NULL if the library has neither."""
    cdef void *found = dlsym(nvml.library, first)
    return found if found != NULL else dlsym(nvml.library, second)


cdef tm_nvml_processes c_list(const c_Nvml *nvml, const char *kind, bint trust_v3, uint32_t *stride) noexcept nogil:
    """Find the newest nvmlDeviceGet…RunningProcesses, and how far apart its records are."""
    cdef char[64] name
    cdef void *found = NULL
    stride[0] = sizeof(tm_nvml_process)
    if trust_v3:
        snprintf(name, sizeof(name), b"nvmlDeviceGet%sRunningProcesses_v3", kind)
        found = dlsym(nvml.library, name)
    if found == NULL:
        snprintf(name, sizeof(name), b"nvmlDeviceGet%sRunningProcesses_v2", kind)
        found = dlsym(nvml.library, name)
    if found == NULL:
        stride[0] = sizeof(tm_nvml_process_v1)
        snprintf(name, sizeof(name), b"nvmlDeviceGet%sRunningProcesses", kind)
        found = dlsym(nvml.library, name)
    return <tm_nvml_processes>found


cdef int c_nvml_load(c_Nvml *nvml, const char *path, char *reason) noexcept nogil:
    """Load the library; 0, or -1 with the reason in REASON_BYTES. Does not speak to the driver yet."""
    cdef const char *lacking = NULL
    cdef char *error
    memset(nvml, 0, sizeof(c_Nvml))
    nvml.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)
    if nvml.library == NULL:
        error = dlerror()
        snprintf(reason, REASON_BYTES, b"%s", <const char *>error if error != NULL else path)
        return -1
    nvml.init = <tm_nvml_call>c_symbol(nvml, b"nvmlInit_v2", b"nvmlInit")
    nvml.shutdown = <tm_nvml_call>dlsym(nvml.library, b"nvmlShutdown")
    nvml.error_string = <tm_nvml_error_string>dlsym(nvml.library, b"nvmlErrorString")
    nvml.driver_version = <tm_nvml_system_text>dlsym(nvml.library, b"nvmlSystemGetDriverVersion")
    nvml.count = <tm_nvml_system_count>c_symbol(nvml, b"nvmlDeviceGetCount_v2", b"nvmlDeviceGetCount")
    nvml.handle = <tm_nvml_handle>c_symbol(nvml, b"nvmlDeviceGetHandleByIndex_v2", b"nvmlDeviceGetHandleByIndex")
    nvml.uuid = <tm_nvml_text>dlsym(nvml.library, b"nvmlDeviceGetUUID")
    nvml.name = <tm_nvml_text>dlsym(nvml.library, b"nvmlDeviceGetName")
    nvml.memory = <tm_nvml_memory_info>dlsym(nvml.library, b"nvmlDeviceGetMemoryInfo")
    nvml.mig_mode = <tm_nvml_mig_mode>dlsym(nvml.library, b"nvmlDeviceGetMigMode")
    nvml.mig_count = <tm_nvml_mig_count>dlsym(nvml.library, b"nvmlDeviceGetMaxMigDeviceCount")
    nvml.mig_handle = <tm_nvml_mig_handle>dlsym(nvml.library, b"nvmlDeviceGetMigDeviceHandleByIndex")
    nvml.utilization = <tm_nvml_utilization>dlsym(nvml.library, b"nvmlDeviceGetProcessUtilization")
    nvml.compute = c_list(nvml, b"Compute", 1, &nvml.compute_stride)
    nvml.graphics = c_list(nvml, b"Graphics", 1, &nvml.graphics_stride)
    if nvml.init == NULL:
        lacking = b"nvmlInit_v2"
    elif nvml.shutdown == NULL:
        lacking = b"nvmlShutdown"
    elif nvml.count == NULL:
        lacking = b"nvmlDeviceGetCount_v2"
    elif nvml.handle == NULL:
        lacking = b"nvmlDeviceGetHandleByIndex_v2"
    elif nvml.compute == NULL:
        lacking = b"nvmlDeviceGetComputeRunningProcesses_v3"
    if lacking != NULL:
        snprintf(reason, REASON_BYTES, b"%s: no function %s", path, lacking)
        c_nvml_unload(nvml)
        return -1
    return 0


cdef void c_nvml_unload(c_Nvml *nvml) noexcept nogil:
    """Let go of the library; harmless when none is loaded."""
    if nvml.library != NULL:
        dlclose(nvml.library)
    memset(nvml, 0, sizeof(c_Nvml))


cdef int c_nvml_begin(c_Nvml *nvml) noexcept nogil:
    """Connect to the driver; one of NVML's codes."""
    cdef char[TM_NVML_TEXT_BYTES] version
    cdef const char *minor
    cdef int code = nvml.init()
    if code != TM_NVML_SUCCESS or nvml.driver_version == NULL:
        return code
    memset(version, 0, sizeof(version))
    if nvml.driver_version(version, sizeof(version) - 1) == TM_NVML_SUCCESS and strncmp(version, b"535.", 4) == 0:
        minor = strchr(version, c'.') + 1
        # 535.43 to 535.86 return a record of 32 bytes from _v3 without a new name; before and after it has 24
        # (github.com/XuehaiPan/nvitop/pull/89). Their _v2 is as it always was.
        if 43 <= atoi(minor) < 98:
            nvml.compute = c_list(nvml, b"Compute", 0, &nvml.compute_stride)
            nvml.graphics = c_list(nvml, b"Graphics", 0, &nvml.graphics_stride)
            if nvml.compute == NULL:
                nvml.shutdown()
                return TM_NVML_FUNCTION_NOT_FOUND
    return TM_NVML_SUCCESS


cdef void c_nvml_reason(const c_Nvml *nvml, const char *what, int code, char *reason) noexcept nogil:
    """Say in REASON_BYTES what failed, in the library's words."""
    cdef const char *text = nvml.error_string(code) if nvml.error_string != NULL else NULL
    if text != NULL:
        snprintf(reason, REASON_BYTES, b"%s: %.120s", what, text)
    else:
        snprintf(reason, REASON_BYTES, b"%s: NVML error %d", what, code)


cdef int c_grow(void **array, uint32_t *room, uint32_t wanted, size_t entry_bytes) noexcept nogil:
    """Make room for `wanted` entries and some; 0, or -ENOMEM also when nobody can want that many."""
    cdef void *more
    cdef size_t count = max(<size_t>wanted + wanted // 4, <size_t>FIRST_ROOM)
    if wanted <= room[0] and room[0] > 0:
        return 0
    if count > MOST_ROOM:
        return -ENOMEM
    more = realloc(array[0], count * entry_bytes)
    if more == NULL:
        return -ENOMEM
    array[0] = more
    room[0] = <uint32_t>count
    return 0


cdef int c_nvml_processes(tm_nvml_processes call, tm_nvml_device device, c_Answer *answer, uint32_t *count) noexcept nogil:
    """List processes into `answer`; one of NVML's codes, or -ENOMEM. Nothing is ever read beyond what the room holds."""
    cdef uint32_t wanted = 0
    cdef int code = TM_NVML_INSUFFICIENT_SIZE
    cdef int _try
    count[0] = 0
    for _try in range(MOST_TRIES):
        if c_grow(<void **>&answer.processes, &answer.process_room, wanted, ENTRY_BYTES) != 0:
            return -ENOMEM
        # A count larger than what was written then adds pids of 0, which nobody has.
        memset(answer.processes, 0, <size_t>answer.process_room * ENTRY_BYTES)
        wanted = answer.process_room
        code = call(device, &wanted, answer.processes)
        if code != TM_NVML_INSUFFICIENT_SIZE:
            break
        wanted = max(wanted, answer.process_room + 1)
    if code == TM_NVML_SUCCESS:
        count[0] = min(wanted, answer.process_room)
    return code


cdef void c_nvml_process(
    const c_Answer *answer, uint32_t stride, uint32_t at, uint32_t *pid, uint64_t *memory_bytes
) noexcept nogil:
    """Take one process out of what c_nvml_processes listed."""
    # Pid and memory come first in every layout, at the same places.
    cdef const tm_nvml_process_v1 *process = <const tm_nvml_process_v1 *>(answer.processes + <size_t>at * stride)
    pid[0] = process.pid
    memory_bytes[0] = process.memory


cdef int c_nvml_samples(
    const c_Nvml *nvml, tm_nvml_device device, uint64_t since_us, c_Answer *answer, uint32_t *count
) noexcept nogil:
    """Read the utilisation samples that are newer than `since_us` into `answer`; one of NVML's codes, or -ENOMEM."""
    cdef uint32_t wanted = 0
    cdef int code = TM_NVML_INSUFFICIENT_SIZE
    cdef int _try
    count[0] = 0
    for _try in range(MOST_TRIES):
        if c_grow(<void **>&answer.samples, &answer.sample_room, wanted, sizeof(tm_nvml_sample)) != 0:
            return -ENOMEM
        memset(answer.samples, 0, answer.sample_room * sizeof(tm_nvml_sample))
        wanted = answer.sample_room
        code = nvml.utilization(device, answer.samples, &wanted, since_us)
        if code != TM_NVML_INSUFFICIENT_SIZE:
            break
        wanted = max(wanted, answer.sample_room + 1)
    if code == TM_NVML_SUCCESS:
        count[0] = min(wanted, answer.sample_room)
    return code


cdef void c_answer_free(c_Answer *answer) noexcept nogil:
    free(answer.processes)
    free(answer.samples)
    memset(answer, 0, sizeof(c_Answer))
