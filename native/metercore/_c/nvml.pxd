"""Declarations of nvml.h: NVML's codes, records and functions."""


cdef extern from "metercore/_c/nvml.h" nogil:
    enum:
        TM_NVML_SUCCESS
        TM_NVML_UNINITIALIZED
        TM_NVML_NOT_SUPPORTED
        TM_NVML_NOT_FOUND
        TM_NVML_INSUFFICIENT_SIZE
        TM_NVML_DRIVER_NOT_LOADED
        TM_NVML_TIMEOUT
        TM_NVML_IRQ_ISSUE
        TM_NVML_LIBRARY_NOT_FOUND
        TM_NVML_FUNCTION_NOT_FOUND
        TM_NVML_GPU_IS_LOST
        TM_NVML_RESET_REQUIRED
        TM_NVML_OPERATING_SYSTEM
        TM_NVML_LIB_RM_VERSION_MISMATCH
        TM_NVML_UNKNOWN
        TM_NVML_TEXT_BYTES

    ctypedef void *tm_nvml_device

    struct tm_nvml_memory:
        unsigned long long total
        unsigned long long free
        unsigned long long used

    struct tm_nvml_process:
        unsigned int pid
        unsigned long long memory
        unsigned int gpu_instance
        unsigned int compute_instance

    struct tm_nvml_process_v1:
        unsigned int pid
        unsigned long long memory

    struct tm_nvml_sample:
        unsigned int pid
        unsigned long long timestamp
        unsigned int sm
        unsigned int memory
        unsigned int encoder
        unsigned int decoder

    ctypedef int (*tm_nvml_call)() noexcept nogil
    ctypedef const char *(*tm_nvml_error_string)(int code) noexcept nogil
    ctypedef int (*tm_nvml_system_text)(char *text, unsigned int size) noexcept nogil
    ctypedef int (*tm_nvml_system_count)(unsigned int *count) noexcept nogil
    ctypedef int (*tm_nvml_handle)(unsigned int index, tm_nvml_device *device) noexcept nogil
    ctypedef int (*tm_nvml_text)(tm_nvml_device device, char *text, unsigned int size) noexcept nogil
    ctypedef int (*tm_nvml_memory_info)(tm_nvml_device device, tm_nvml_memory *memory) noexcept nogil
    ctypedef int (*tm_nvml_mig_mode)(tm_nvml_device device, unsigned int *current, unsigned int *pending) noexcept nogil
    ctypedef int (*tm_nvml_mig_count)(tm_nvml_device device, unsigned int *count) noexcept nogil
    ctypedef int (*tm_nvml_mig_handle)(tm_nvml_device device, unsigned int index, tm_nvml_device *mig) noexcept nogil
    ctypedef int (*tm_nvml_processes)(tm_nvml_device device, unsigned int *count, void *processes) noexcept nogil
    ctypedef int (*tm_nvml_utilization)(
        tm_nvml_device device, tm_nvml_sample *samples, unsigned int *count, unsigned long long since
    ) noexcept nogil
