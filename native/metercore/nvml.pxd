from libc.stdint cimport uint32_t, uint64_t

from metercore._c.nvml cimport (
    tm_nvml_call,
    tm_nvml_device,
    tm_nvml_error_string,
    tm_nvml_handle,
    tm_nvml_memory_info,
    tm_nvml_mig_count,
    tm_nvml_mig_handle,
    tm_nvml_mig_mode,
    tm_nvml_processes,
    tm_nvml_sample,
    tm_nvml_system_count,
    tm_nvml_system_text,
    tm_nvml_text,
    tm_nvml_utilization,
)

cdef enum:
    REASON_BYTES = 256

# A loaded library. What it may lack is NULL.
cdef struct c_Nvml:
    void *library
    tm_nvml_call init
    tm_nvml_call shutdown
    tm_nvml_error_string error_string    # may be NULL
    tm_nvml_system_text driver_version   # may be NULL
    tm_nvml_system_count count
    tm_nvml_handle handle
    tm_nvml_text uuid                    # may be NULL
    tm_nvml_text name                    # may be NULL
    tm_nvml_memory_info memory           # may be NULL
    tm_nvml_mig_mode mig_mode            # may be NULL
    tm_nvml_mig_count mig_count          # may be NULL
    tm_nvml_mig_handle mig_handle        # may be NULL
    tm_nvml_utilization utilization      # may be NULL
    tm_nvml_processes compute
    tm_nvml_processes graphics           # may be NULL
    uint32_t compute_stride              # bytes from one process to the next in what `compute` returns
    uint32_t graphics_stride

# Rooms that grow with what the driver has to say, used for one call at a time.
cdef struct c_Answer:
    char *processes
    uint32_t process_room
    tm_nvml_sample *samples
    uint32_t sample_room

cdef int c_nvml_load(c_Nvml *nvml, const char *path, char *reason) noexcept nogil
cdef void c_nvml_unload(c_Nvml *nvml) noexcept nogil
cdef int c_nvml_begin(c_Nvml *nvml) noexcept nogil
cdef void c_nvml_reason(const c_Nvml *nvml, const char *what, int code, char *reason) noexcept nogil
cdef int c_nvml_processes(tm_nvml_processes call, tm_nvml_device device, c_Answer *answer, uint32_t *count) noexcept nogil
cdef void c_nvml_process(
    const c_Answer *answer, uint32_t stride, uint32_t at, uint32_t *pid, uint64_t *memory_bytes
) noexcept nogil
cdef int c_nvml_samples(
    const c_Nvml *nvml, tm_nvml_device device, uint64_t since_us, c_Answer *answer, uint32_t *count
) noexcept nogil
cdef void c_answer_free(c_Answer *answer) noexcept nogil
