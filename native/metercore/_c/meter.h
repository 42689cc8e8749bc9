/* The meter page: what has been billed so far, so that no daemon's death can lose it (one page per attempt, two CRC slots).
 *
 * The sampler writes the slot that does not hold the newest serial and reads the valid slot with the higher one. Integrals
 * are integers only: CPU and GPU time in ns; memory of both kinds as the doubled trapezoid (m0 + m1) * dt in byte-nanoseconds,
 * 128 bits wide. ~0 = not measurable, never measured.
 */
#ifndef TASKMETER_METER_H
#define TASKMETER_METER_H

#include <stddef.h>
#include <stdint.h>

#define TM_METER_MAGIC 0x20524554454d4d54ull /* "TMMETER " */
#define TM_METER_VERSION 2u
#define TM_METER_BYTES 4096u
#define TM_METER_SLOT_BYTES 2048u

struct tm_meter {
    uint64_t magic;
    uint32_t version;
    uint32_t serial;
    char boot_id[40];          /* monotonic times below belong to this boot */
    uint64_t first_monotonic_ns, last_monotonic_ns;
    int64_t last_realtime_ns;
    uint64_t cpu_ns;           /* highest total ever published */
    uint64_t memory_byte_ns2_low, memory_byte_ns2_high; /* doubled trapezoid */
    uint64_t memory_bytes;     /* at last_monotonic_ns */
    uint64_t peak_memory_bytes;
    double peak_cpu_cores;     /* over windows of 100 ms or more */
    uint64_t io_read_bytes, io_write_bytes;
    uint64_t voluntary_switch_count, involuntary_switch_count;
    uint64_t minor_fault_count, major_fault_count;
    uint64_t gpu_memory_byte_ns2_low, gpu_memory_byte_ns2_high;
    uint64_t gpu_memory_bytes; /* at the newest look at the GPUs */
    uint64_t peak_gpu_memory_bytes;
    uint64_t gpu_ns;           /* utilization integrated over time, summed over GPUs */
    double peak_gpu_percent;   /* of the sum over GPUs; negative = not measurable */
    uint64_t gpu_monotonic_ns; /* up to where GPU memory is integrated; 0 = it never was */
    uint64_t sample_count;
    uint32_t cpu_source, memory_source; /* MetricsSource, MemorySource of the contract */
    uint32_t had_gap;
    uint32_t reserved;
    uint64_t tree_cpu_ns;      /* attached: what its living processes had used, at the last sample, in all their lives */
    uint32_t reserved2;
    uint32_t crc;              /* CRC-32 (IEEE) of everything before it */
};

_Static_assert(sizeof(struct tm_meter) <= TM_METER_SLOT_BYTES, "two slots in a page");
_Static_assert(sizeof(struct tm_meter) == offsetof(struct tm_meter, crc) + 4, "crc is last");

#endif
