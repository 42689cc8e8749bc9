/* The history of an attempt: its use over time in rings of points, in one sparse file that grows with its age.
 *
 * Steps count from the attempt's first sample, so a step's index says when it began and where in its ring it lies; what lies
 * elsewhere is older than the ring reaches. Each point carries its own CRC: a torn one is missing, never wrong. Coarser points
 * are written when their step is over; until then they are made from the finer ones. Values are floats: 1 part in 10^7 is more
 * than a drawing shows, and holds any size.
 */
#ifndef TASKMETER_HISTORY_H
#define TASKMETER_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#define TM_HISTORY_MAGIC 0x20545349484d54ull /* "TMHIST " */
#define TM_HISTORY_VERSION 1u
#define TM_HISTORY_TIERS 5u
#define TM_HISTORY_HEAD_BYTES 64u
#define TM_HISTORY_POINTS 2664u /* of all rings: 1 s x 300, 10 s x 360, 60 s x 1440, 900 s x 300, 7200 s x 264 */
#define TM_HISTORY_BYTES (TM_HISTORY_HEAD_BYTES + TM_HISTORY_POINTS * 48u) /* 127,936 */
#define TM_HISTORY_GAP 1u /* nothing was sampled in a part of the step */

struct tm_history_head {
    uint64_t magic;
    uint32_t version;
    uint32_t crc;              /* CRC-32 (IEEE) of what follows */
    int64_t created_realtime_ns; /* when step 0 begins */
    uint8_t reserved[40];
};

struct tm_history_point {
    uint32_t index;            /* of the step; it begins index * seconds of its tier after created_realtime_ns */
    uint8_t tier;
    uint8_t flags;
    uint8_t reserved[2];
    float covered_seconds;     /* of the step: values are means over these */
    float cores, cores_max;
    float memory_bytes, memory_bytes_max;
    float gpu_memory_bytes, gpu_utilization_percent; /* NaN = not measured */
    float rate_count_per_second, rate_size_per_second;
    uint32_t crc;              /* CRC-32 (IEEE) of everything before it */
};

_Static_assert(sizeof(struct tm_history_head) == TM_HISTORY_HEAD_BYTES, "head");
_Static_assert(sizeof(struct tm_history_point) == 48 && offsetof(struct tm_history_point, crc) == 44, "a point has no holes");

#endif
