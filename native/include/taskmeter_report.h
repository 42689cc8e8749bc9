/* Report progress from C or C++: copy this file, include it, no library is needed. Linux, GCC or Clang.
 *
 *     tm_total(count, bytes);           how much there is to do, 0 = not known
 *     tm_add(1, bytes);                 done; one or two atomic additions, from any thread or forked process
 *     tm_fail(1, bytes);                failed
 *     tm_status("sorting");             what the program is doing; tm_object("a.csv"): what it is doing it to
 *     tm_count("pages", 1);             a counter of your own, which a tariff may price: 16 names of at most 24 bytes
 *     tm_ready();                       for tasks started with announces_ready
 *
 * Nothing here fails or waits: outside of a Taskmeter task, or when the disk is full, all goes to memory that nobody sees.
 * The layout is that of native/metercore/_c/report.h, whose words on the protocol hold here.
 */
#ifndef TASKMETER_REPORT_CLIENT_H
#define TASKMETER_REPORT_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TM_MAGIC 0x54524f5045524d54ull
enum { TM_BYTES = 4096, TM_TEXT_BYTES = 500, TM_NAME_BYTES = 24, TM_NAMES = 16, TM_LOCK_TRIES = 20000 };

struct tm_counter { int64_t value; char pad[120]; };
struct tm_named { char name[TM_NAME_BYTES]; int64_t value; };
struct tm_text { uint32_t crc; uint16_t bytes[2]; char text[2][TM_TEXT_BYTES]; }; /* status, object */
struct tm_block {
    uint64_t magic;
    uint32_t version, size_bytes, writer_pid, ready;
    int64_t ready_realtime_ns;
    char pad[96];
    struct tm_counter total_count, completed_count, failed_count, total_size, completed_size, failed_size;
    uint32_t text_lock, text_serial;
    char pad2[120];
    struct tm_named custom[TM_NAMES];
    struct tm_text text[2];
};
union tm_page { struct tm_block block; char page[TM_BYTES]; };

/* The block of this process's task, mapped when it is first asked for; of two threads that ask first, one keeps its mapping. */
static inline struct tm_block *tm_block(void) {
    static union tm_page nobody; /* one per file that includes this */
    static struct tm_block *found;
    struct tm_block *block = __atomic_load_n(&found, __ATOMIC_ACQUIRE), *none = NULL;
    const char *directory = getenv("TASKMETER_TASK_DIR");
    char path[4200];
    struct stat facts;
    void *memory = MAP_FAILED;
    int file = -1;
    if (block) return block;
    if (directory && directory[0] && snprintf(path, sizeof path, "%s/report", directory) < (int)sizeof path)
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    /* Blocks are allocated first: a store into a hole on a full disk would be SIGBUS. */
    if (file >= 0 && fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && posix_fallocate(file, 0, TM_BYTES) == 0)
        memory = mmap(NULL, TM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    block = memory == MAP_FAILED ? &nobody.block : (struct tm_block *)memory;
    if (block->magic != TM_MAGIC) {
        block->version = 1;
        block->size_bytes = TM_BYTES;
        __atomic_store_n(&block->magic, TM_MAGIC, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&block->writer_pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
    if (__atomic_compare_exchange_n(&found, &none, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return block;
    if (memory != MAP_FAILED) munmap(memory, TM_BYTES);
    return none;
}

static inline void tm_plus(struct tm_counter *counter, int64_t n) {
    if (n) __atomic_fetch_add(&counter->value, n, __ATOMIC_RELAXED);
}
static inline void tm_add(int64_t n, int64_t size) {
    tm_plus(&tm_block()->completed_count, n);
    tm_plus(&tm_block()->completed_size, size);
}
static inline void tm_fail(int64_t n, int64_t size) {
    tm_plus(&tm_block()->failed_count, n);
    tm_plus(&tm_block()->failed_size, size);
}
static inline void tm_total(int64_t n, int64_t size) {
    __atomic_store_n(&tm_block()->total_count.value, n, __ATOMIC_RELAXED);
    __atomic_store_n(&tm_block()->total_size.value, size, __ATOMIC_RELAXED);
}
static inline void tm_ready(void) {
    struct timespec now;
    if (__atomic_load_n(&tm_block()->ready, __ATOMIC_RELAXED) == 1) return;
    clock_gettime(CLOCK_REALTIME, &now);
    __atomic_store_n(&tm_block()->ready_realtime_ns, now.tv_sec * (int64_t)1000000000 + now.tv_nsec, __ATOMIC_RELAXED);
    __atomic_store_n(&tm_block()->ready, 1u, __ATOMIC_RELEASE);
}

/* 0 -> our thread's id, which no other living thread has; from a dead owner too. 0 = a living one did not give it back. */
static inline int tm_lock(struct tm_block *block) {
    uint32_t own = (uint32_t)gettid(), owner;
    for (int tries = 0; tries < TM_LOCK_TRIES; tries++) {
        owner = 0;
        if (__atomic_compare_exchange_n(&block->text_lock, &owner, own, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return 1;
        if (((int)owner <= 0 || owner == own || (kill((pid_t)owner, 0) != 0 && errno == ESRCH)) &&
            __atomic_compare_exchange_n(&block->text_lock, &owner, own, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return 1;
        sched_yield();
    }
    return 0;
}

static inline void tm_say(int which, const char *text) {
    struct tm_block *block = tm_block();
    size_t bytes = strlen(text);
    if (bytes > TM_TEXT_BYTES) /* cut at a character */
        for (bytes = TM_TEXT_BYTES; bytes > 0 && (text[bytes] & 0xC0) == 0x80;) bytes--;
    if (!tm_lock(block)) return;
    uint32_t serial = block->text_serial, next = serial < 0xFFFFFFFFu ? serial + 1 : 2, crc = 0xFFFFFFFFu;
    struct tm_text *after = &block->text[next & 1];
    *after = block->text[serial & 1];
    memcpy(after->text[which], text, bytes);
    after->bytes[which] = (uint16_t)bytes;
    for (const unsigned char *at = (const unsigned char *)after + 4; at < (const unsigned char *)(after + 1); at++) {
        crc ^= *at; /* CRC-32 (IEEE) of all but itself */
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    after->crc = ~crc;
    __atomic_store_n(&block->text_serial, next, __ATOMIC_RELEASE);
    __atomic_store_n(&block->text_lock, 0u, __ATOMIC_RELEASE);
}
static inline void tm_status(const char *text) { tm_say(0, text); }
static inline void tm_object(const char *text) { tm_say(1, text); }

static inline void tm_count(const char *name, int64_t n) {
    struct tm_named *named = tm_block()->custom;
    int k, locked = 0;
    for (k = name[0] ? 0 : TM_NAMES; k < TM_NAMES && strncmp(named[k].name, name, TM_NAME_BYTES) != 0; k++) {
        if (named[k].name[0]) continue;
        if (locked) { /* all names stand still, and ours is not among them */
            memcpy(named[k].name, name, strnlen(name, TM_NAME_BYTES));
            break;
        }
        if (!(locked = tm_lock(tm_block()))) return;
        k = -1;
    }
    if (k < TM_NAMES) __atomic_fetch_add(&named[k].value, n, __ATOMIC_RELAXED);
    if (locked) __atomic_store_n(&tm_block()->text_lock, 0u, __ATOMIC_RELEASE);
}
#endif
