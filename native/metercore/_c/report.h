/* The report block: one page in the task directory (task/report) that the work, in any language, and the daemon share.
 *
 * The work adds to counters with atomic instructions (relaxed is enough: each counter stands alone) and replaces the text
 * under a lock that can be stolen from a dead owner. The daemon only reads, and believes nothing: every value is clamped.
 * Each hot counter has 128 bytes to itself, two cache lines, because the hardware prefetches lines in pairs.
 *
 * Text: take `text_lock` (0 -> own pid, stealable when kill(owner, 0) says ESRCH), write the slot that is not
 * `text_serial & 1`, then its crc, then store text_serial + 1 with release order, then unlock.
 */
#ifndef TASKMETER_REPORT_H
#define TASKMETER_REPORT_H

#include <stddef.h>
#include <stdint.h>

#define TM_REPORT_MAGIC 0x54524f5045524d54ull /* "TMREPORT" */
#define TM_REPORT_VERSION 1u
#define TM_REPORT_BYTES 4096u
#define TM_REPORT_CUSTOM_COUNT 16
#define TM_REPORT_NAME_BYTES 24
#define TM_REPORT_TEXT_BYTES 500

struct tm_report_counter {
    int64_t value;
    char pad[120];
};

struct tm_report_custom {
    char name[TM_REPORT_NAME_BYTES]; /* NUL padded UTF-8; name[0] == 0: free; claimed under text_lock */
    int64_t value;
};

struct tm_report_text {
    uint32_t crc; /* CRC-32 (IEEE) of the rest of this struct */
    uint16_t status_bytes;
    uint16_t object_bytes;
    char status[TM_REPORT_TEXT_BYTES]; /* UTF-8, cut at a character */
    char object[TM_REPORT_TEXT_BYTES];
};

struct tm_report {
    uint64_t magic;
    uint32_t version;
    uint32_t size_bytes;
    uint32_t writer_pid; /* the newest process that opened the block */
    uint32_t ready;      /* 1 = announced readiness */
    int64_t ready_realtime_ns;
    int64_t dropped_events; /* 32: of the item logs of all processes: what found no room there */
    char pad[88];
    struct tm_report_counter total_count, completed_count, failed_count; /* offsets 128, 256, 384 */
    struct tm_report_counter total_size, completed_size, failed_size;    /* offsets 512, 640, 768 */
    uint32_t text_lock;   /* 896: pid of the owner, 0 = free */
    uint32_t text_serial; /* slot text[serial & 1] is the current one; 0 = no text yet */
    char pad2[120];
    struct tm_report_custom custom[TM_REPORT_CUSTOM_COUNT]; /* 1024 */
    struct tm_report_text text[2];                          /* 1536 */
};

_Static_assert(sizeof(struct tm_report) <= TM_REPORT_BYTES, "the report block is one page");
_Static_assert(offsetof(struct tm_report, total_count) == 128, "counters at 128 * k");
_Static_assert(offsetof(struct tm_report, text_lock) == 896, "text");
_Static_assert(offsetof(struct tm_report, custom) == 1024, "custom counters");

#endif
