/* The launch block: read once from fd 3, checked as if an enemy had written it, gone from memory after the fork. */
#ifndef TASKMETER_SHIM_BLOCK_H
#define TASKMETER_SHIM_BLOCK_H

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "taskdir.h"
#include "text.h"

struct block {
    const struct tm_launch *head;
    const char *bytes;
    size_t size;   /* head->total_bytes */
    size_t mapped; /* bytes of the mapping */
};

/* The string at `offset`, or NULL when it does not lie, with its NUL, in the part after the head. */
static const char *block_text(const struct block *block, uint32_t offset)
{
    if (offset < sizeof(struct tm_launch) || offset >= block->size)
        return NULL;
    return memchr(block->bytes + offset, 0, block->size - offset) ? block->bytes + offset : NULL;
}

/* Whether `count` strings follow each other from `offset`; fills `list` (count + 1 pointers) unless it is NULL. */
static bool block_list(const struct block *block, uint32_t offset, uint32_t count, const char **list)
{
    uint64_t at = offset;
    for (uint32_t i = 0; i < count; i++) {
        const char *text = at < block->size ? block_text(block, (uint32_t)at) : NULL;
        if (!text)
            return false;
        if (list)
            list[i] = text;
        at += strlen(text) + 1;
    }
    if (list)
        list[count] = NULL;
    return true;
}

static bool block_path(const struct block *block, uint32_t offset, bool required)
{
    const char *path = offset ? block_text(block, offset) : NULL;
    if (!path)
        return !offset && !required;
    return path[0] == '/';
}

static bool block_is_sound(struct block *block)
{
    const struct tm_launch *head = block->head;
    if (block->size < sizeof *head || head->magic != TM_MAGIC_LAUNCH || head->version != TM_VERSION)
        return false;
    if (head->total_bytes < sizeof *head || head->total_bytes > block->size)
        return false;
    block->size = head->total_bytes;
    const char *token = block_text(block, head->token_offset);
    const char *hints = block_text(block, head->hints_offset);
    if (!token || !*token || strlen(token) >= sizeof((struct tm_hint *)0)->token)
        return false;
    if (head->hints_offset && (!hints || strlen(hints) >= sizeof((struct sockaddr_un *)0)->sun_path))
        return false;
    if (!memchr(head->boot_id, 0, sizeof head->boot_id) || head->umask > 0777 || head->nice < -20 || head->nice > 19)
        return false;
    if (head->group_count > TM_MAX_GROUPS || head->rlimit_count > TM_MAX_RLIMITS || head->cgroup_v1_count > TM_MAX_CGROUPS_V1)
        return false;
    if ((head->flags & TM_LAUNCH_ATTACH) ? head->argc || head->attach_pid < 0 : head->argc < 1)
        return false;
    for (uint32_t i = 0; i < head->rlimit_count; i++)
        if (head->rlimits[i].resource >= RLIM_NLIMITS)
            return false;
    return block_path(block, head->attempt_dir_offset, true) && block_path(block, head->cwd_offset, false) &&
           block_path(block, head->stdin_offset, false) && block_path(block, head->cgroup_v2_offset, false) &&
           block_list(block, head->cgroup_v1_offset, head->cgroup_v1_count, NULL) &&
           block_list(block, head->argv_offset, head->argc, NULL) && block_list(block, head->env_offset, head->envc, NULL);
}

/* Copy fd's content into fresh memory of our own: what is checked cannot change afterwards. */
static bool block_read(struct block *block, int fd)
{
    struct stat info;
    if (fstat(fd, &info) || info.st_size < (off_t)sizeof(struct tm_launch) || info.st_size > (off_t)TM_MAX_LAUNCH_BYTES)
        return false;
    block->mapped = (size_t)info.st_size;
    char *memory = mmap(NULL, block->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    for (block->size = 0; block->size < block->mapped;) {
        ssize_t got = pread(fd, memory + block->size, block->mapped - block->size, (off_t)block->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        block->size += (size_t)got;
    }
    block->bytes = memory;
    block->head = (const struct tm_launch *)memory;
    if (block_is_sound(block))
        return true;
    munmap(memory, block->mapped);
    return false;
}

static void block_forget(struct block *block)
{
    munmap((void *)(uintptr_t)block->bytes, block->mapped);
    block->bytes = NULL;
    block->head = NULL;
}

#endif
