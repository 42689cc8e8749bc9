/* The item log: what the work says about its items, steps and messages, in segments that it writes and the daemon reads.
 *
 * A writer is one process. Its segments are `<attempt>/task/items/<pid>-<start_ticks>-<n>`: n grows with each, and is never used
 * twice, also after exec(2), because it counts from the microseconds that the process had lived when it first wrote.
 *
 * Writing. The file is made with O_EXCL, filled with blocks (posix_fallocate: a store into a hole on a full disk would be
 * SIGBUS), then mapped; `magic` is stored last. A record is written behind `end_bytes`, and `end_bytes` then stored with release
 * order: that is what publishes it, and what a writer that is killed before leaves behind is not in the log. A writer that goes on to the next
 * segment first stores `closed` = 1 with release order: nothing is added after that. Who forks writes nothing more here in the child.
 *
 * Reading. With pread(2), never by mapping: the task can shorten the file. Heads are read before bodies, and of one writer's
 * segments the last one's head first: what was published before it is then in the others. The reader believes nothing: each
 * length is held against the file, each record has a CRC and knows its own place, and a bad one is stepped over eight bytes at a
 * time. A segment has been read to its end when it is closed, or its writer is dead, and `end_bytes` is reached.
 *
 * All is native endian: the log does not leave the machine. CRC-32C (Castagnoli, RFC 3720) because processors have it.
 */
#ifndef TASKMETER_ITEMLOG_H
#define TASKMETER_ITEMLOG_H

#include <stddef.h>
#include <stdint.h>

#define TM_ITEMS_MAGIC 0x20534d4554494d54ull /* "TMITEMS " */
#define TM_ITEMS_VERSION 1u
#define TM_ITEMS_HEAD_BYTES 128u
#define TM_ITEMS_FIRST_BYTES 0x100000u   /* a writer's first segment; each next one is twice as large */
#define TM_ITEMS_MOST_BYTES 0x800000u    /* the largest segment */
#define TM_ITEMS_LEAST_BYTES 0x10000u    /* what is tried where the disk has no room for more */
#define TM_ITEMS_UNREAD_BYTES 0x4000000u /* what one writer leaves on the disk unread, at most: 64 MiB; then it drops and counts */

#define TM_ITEM_ID_BYTES 1024u
#define TM_ITEM_NAME_BYTES 200u /* stage, worker, step */
#define TM_ITEM_ERROR_BYTES 2000u
#define TM_ITEM_TEXT_BYTES 4000u
#define TM_ITEM_METADATA_BYTES 4000u /* all entries with their lengths */
#define TM_ITEM_RECORD_MOST_BYTES 8192u

struct tm_items_head {
    uint64_t magic; /* stored last: without it there is no segment yet */
    uint32_t version;
    uint32_t head_bytes; /* where the first record is */
    uint32_t writer_pid;
    uint32_t reserved;
    uint64_t start_ticks; /* field 22 of /proc/PID/stat; 0 = not known */
    uint64_t number;      /* n */
    uint64_t namespaces;  /* inodes of pid (low) and time (high) namespace: a reader in others cannot tell whether it is dead */
    uint64_t room_bytes;  /* of the file, while it is written */
    uint64_t pad;
    uint64_t end_bytes; /* 64: behind the last whole record */
    uint32_t closed;    /* 72: 1 = nothing is added any more */
    char pad2[52];
};

enum tm_item_type {
    TM_ITEM_CHANGED = 1, /* ItemChanged: code = ItemStatus, value = size in bytes */
    TM_ITEM_STEP = 2,    /* StepEvent: code = StepEventType, value = bits of the double duration_seconds, if timed */
    TM_ITEM_MESSAGE = 3, /* Message: code = MessageLevel, its text stands where the error of others does */
    TM_ITEM_DROPPED = 4, /* value = how many events before this one are not in the log */
};

enum tm_item_id_kind {
    TM_ITEM_ID_NONE = 0,
    TM_ITEM_ID_TEXT = 1,
    TM_ITEM_ID_NUMBER = 2, /* eight bytes */
    TM_ITEM_ID_JSON = 3,
};

/* A record: this, then the texts in the order of their lengths, then zeros up to a multiple of 8. Metadata are entries of two
 * uint16_t lengths, key and value. Numbers of code as in protos/taskmeter/v1. */
struct tm_item_record {
    uint32_t crc;        /* of all that follows, size_bytes - 4 */
    uint32_t size_bytes; /* of all of it, a multiple of 8 */
    uint32_t place;      /* its own offset in the segment */
    uint8_t type;
    uint8_t code;
    uint8_t id_kind;
    uint8_t timed; /* of a step: value is a duration */
    int64_t time_ns; /* CLOCK_REALTIME */
    int64_t value;
    int32_t attempt;
    uint16_t id_bytes;
    uint16_t stage_bytes;
    uint16_t worker_bytes;
    uint16_t step_bytes;
    uint16_t error_bytes;
    uint16_t metadata_bytes;
};

_Static_assert(sizeof(struct tm_items_head) == TM_ITEMS_HEAD_BYTES, "head");
_Static_assert(offsetof(struct tm_items_head, end_bytes) == 64, "what is stored per event has a cache line to itself");
_Static_assert(offsetof(struct tm_items_head, closed) == 72, "closed");
_Static_assert(sizeof(struct tm_item_record) == 48, "record");
_Static_assert(offsetof(struct tm_item_record, time_ns) == 16, "time");
_Static_assert(offsetof(struct tm_item_record, id_bytes) == 36, "lengths");
_Static_assert(sizeof(struct tm_item_record) + TM_ITEM_ID_BYTES + 3 * TM_ITEM_NAME_BYTES + TM_ITEM_TEXT_BYTES <=
                   TM_ITEM_RECORD_MOST_BYTES - 8, "the largest message");
_Static_assert(sizeof(struct tm_item_record) + TM_ITEM_ID_BYTES + 3 * TM_ITEM_NAME_BYTES + TM_ITEM_ERROR_BYTES +
                   TM_ITEM_METADATA_BYTES <= TM_ITEM_RECORD_MOST_BYTES - 8, "the largest item");

#endif
