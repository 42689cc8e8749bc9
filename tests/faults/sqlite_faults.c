/* LD_PRELOAD: makes what reaches the database's files fail as the page $TEST_SQLITE_FAULTS (struct plan) says.
 *
 * The page is mapped shared, so that a test can change its mind while the daemon runs. `hits` counts the failures.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum call { READ = 1, WRITE = 2, SYNC = 3, TRUNCATE = 4 };

struct plan {
    uint32_t call;  /* 0 = nothing fails */
    uint32_t error; /* errno */
    uint32_t every; /* of so many calls one fails */
    uint32_t left;  /* at most so many failures */
    uint32_t after; /* it is done first, and then said to have failed */
    uint32_t seen;
    uint32_t hits;
};

static volatile struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *path = getenv("TEST_SQLITE_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        plan = page;
    if (fd >= 0)
        close(fd);
}

static bool is_database(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name && (!strcmp(name, "/taskmeter.db") || !strcmp(name, "/taskmeter.db-wal"));
}

/* Tells whether this call is to fail. */
static bool fails(enum call call, int fd)
{
    if (!plan || plan->call != call || !plan->left || !is_database(fd))
        return false;
    if (__sync_add_and_fetch(&plan->seen, 1) % plan->every)
        return false;
    plan->left--;
    plan->hits++;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAULTY(call, fd, work)                                                                                                 \
    do {                                                                                                                       \
        bool hit = fails(call, fd);                                                                                            \
        if (!hit || plan->after) {                                                                                             \
            __typeof__(work) done = work;                                                                                      \
            if (!hit)                                                                                                          \
                return done;                                                                                                   \
        }                                                                                                                      \
        errno = (int)plan->error;                                                                                              \
        return -1;                                                                                                             \
    } while (0)

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    FAULTY(READ, fd, REAL(pread64)(fd, data, size, offset));
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    FAULTY(READ, fd, REAL(pread)(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    FAULTY(WRITE, fd, REAL(pwrite64)(fd, data, size, offset));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    FAULTY(WRITE, fd, REAL(pwrite)(fd, data, size, offset));
}

int fsync(int fd)
{
    FAULTY(SYNC, fd, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    FAULTY(SYNC, fd, REAL(fdatasync)(fd));
}

int ftruncate64(int fd, off64_t size)
{
    FAULTY(TRUNCATE, fd, REAL(ftruncate64)(fd, size));
}

int ftruncate(int fd, off_t size)
{
    FAULTY(TRUNCATE, fd, REAL(ftruncate)(fd, size));
}
