/* LD_PRELOAD: writes down, in $TEST_RECORD_FILE, what reaches the database's files, so that a test can cut the power anywhere.
 *
 * A record is {operation, bytes of name, offset, bytes of data}, name, data. A write is noted before it is done, a sync after.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum operation { WRITE = 1, SYNC = 2, TRUNCATE = 3, UNLINK = 4 };

struct head {
    uint32_t operation, name_bytes;
    uint64_t offset, data_bytes;
};

static int record = -1;

__attribute__((constructor)) static void open_record(void)
{
    const char *path = getenv("TEST_RECORD_FILE");
    record = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

static void note_path(enum operation operation, const char *path, uint64_t offset, const void *data, size_t size)
{
    const char *name = strrchr(path, '/');
    if (record < 0 || !name || !strstr(name, ".db") || strstr(name, "-shm"))
        return;
    name++;
    struct head head = {operation, (uint32_t)strlen(name), offset, size};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)(uintptr_t)name, head.name_bytes}, {(void *)(uintptr_t)data, size}};
    if (writev(record, parts, 3) < 0)
        abort();
}

static void note(enum operation operation, int fd, uint64_t offset, const void *data, size_t size)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    note_path(operation, path, offset, data, size);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    note(WRITE, fd, (uint64_t)offset, data, size);
    return REAL(pwrite64)(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    note(WRITE, fd, (uint64_t)offset, data, size);
    return REAL(pwrite)(fd, data, size, offset);
}

int fsync(int fd)
{
    int failed = REAL(fsync)(fd);
    if (!failed)
        note(SYNC, fd, 0, NULL, 0);
    return failed;
}

int fdatasync(int fd)
{
    int failed = REAL(fdatasync)(fd);
    if (!failed)
        note(SYNC, fd, 0, NULL, 0);
    return failed;
}

int ftruncate64(int fd, off64_t size)
{
    note(TRUNCATE, fd, (uint64_t)size, NULL, 0);
    return REAL(ftruncate64)(fd, size);
}

int ftruncate(int fd, off_t size)
{
    note(TRUNCATE, fd, (uint64_t)size, NULL, 0);
    return REAL(ftruncate)(fd, size);
}

int unlink(const char *path)
{
    note_path(UNLINK, path, 0, NULL, 0);
    return REAL(unlink)(path);
}
