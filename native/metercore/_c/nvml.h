/* NVML, the management library of NVIDIA's driver, as far as it is used: https://docs.nvidia.com/deploy/nvml-api/
 *
 * The library comes with the driver and is loaded at run time, so nothing of NVIDIA's is needed to build. Every function
 * returns one of the codes below; strings go into a buffer of the caller's.
 */
#ifndef TASKMETER_NVML_H
#define TASKMETER_NVML_H

enum {
    TM_NVML_SUCCESS = 0,
    TM_NVML_UNINITIALIZED = 1,
    TM_NVML_NOT_SUPPORTED = 3,
    TM_NVML_NOT_FOUND = 6,
    TM_NVML_INSUFFICIENT_SIZE = 7,
    TM_NVML_DRIVER_NOT_LOADED = 9,
    TM_NVML_TIMEOUT = 10,
    TM_NVML_IRQ_ISSUE = 11,
    TM_NVML_LIBRARY_NOT_FOUND = 12,
    TM_NVML_FUNCTION_NOT_FOUND = 13,
    TM_NVML_GPU_IS_LOST = 15,
    TM_NVML_RESET_REQUIRED = 16,
    TM_NVML_OPERATING_SYSTEM = 17,
    TM_NVML_LIB_RM_VERSION_MISMATCH = 18,
    TM_NVML_UNKNOWN = 999,
};

#define TM_NVML_TEXT_BYTES 96 /* holds the longest UUID and name: NVML_DEVICE_UUID_V2_BUFFER_SIZE, …NAME_V2… */

typedef struct tm_nvml_device *tm_nvml_device; /* opaque: a GPU, or one of its MIG devices */

struct tm_nvml_memory {
    unsigned long long total, free, used; /* bytes */
};

struct tm_nvml_process {          /* of …RunningProcesses, _v2 and _v3 */
    unsigned int pid;
    unsigned long long memory;    /* bytes; ~0 = not available */
    unsigned int gpu_instance, compute_instance;
};

struct tm_nvml_process_v1 {       /* of …RunningProcesses without a suffix */
    unsigned int pid;
    unsigned long long memory;
};

struct tm_nvml_sample {           /* of nvmlDeviceGetProcessUtilization; all but the first two in percent */
    unsigned int pid;
    unsigned long long timestamp; /* µs since 1970 */
    unsigned int sm, memory, encoder, decoder;
};

_Static_assert(sizeof(struct tm_nvml_process) == 24 && sizeof(struct tm_nvml_process_v1) == 16, "as NVML lays them out");
_Static_assert(sizeof(struct tm_nvml_sample) == 32, "as NVML lays it out");

typedef int (*tm_nvml_call)(void);
typedef const char *(*tm_nvml_error_string)(int code);
typedef int (*tm_nvml_system_text)(char *text, unsigned int size);
typedef int (*tm_nvml_system_count)(unsigned int *count);
typedef int (*tm_nvml_handle)(unsigned int index, tm_nvml_device *device);
typedef int (*tm_nvml_text)(tm_nvml_device device, char *text, unsigned int size);
typedef int (*tm_nvml_memory_info)(tm_nvml_device device, struct tm_nvml_memory *memory);
typedef int (*tm_nvml_mig_mode)(tm_nvml_device device, unsigned int *current, unsigned int *pending);
typedef int (*tm_nvml_mig_count)(tm_nvml_device device, unsigned int *count);
typedef int (*tm_nvml_mig_handle)(tm_nvml_device device, unsigned int index, tm_nvml_device *mig);
typedef int (*tm_nvml_processes)(tm_nvml_device device, unsigned int *count, void *processes);
typedef int (*tm_nvml_utilization)(tm_nvml_device device, struct tm_nvml_sample *samples, unsigned int *count,
                                   unsigned long long since);

#endif
