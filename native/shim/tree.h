/* The process tree below the shim: find it, signal it, kill it, and never hit a stranger.
 *
 * The shim is a subreaper, so whatever the task starts stays below it: setsid and double forks do not escape, and wait4 says
 * ECHILD only when nothing is left. What must not happen is a signal to a recycled pid. A child of ours keeps its pid until we
 * reap it, so plain kill is exact there. For anything deeper: open a pidfd, then read the parent from /proc; if it is not the
 * parent that the pid was found under (or us, who inherit orphans), the pid is skipped until the next look.
 */
#ifndef TASKMETER_SHIM_TREE_H
#define TASKMETER_SHIM_TREE_H

#include <signal.h>
#include <sys/syscall.h>

#include "text.h"

#define MAX_FOUND 65536  /* a larger tree is killed in several rounds */
#define MAX_MARKS 32768  /* a power of two; 512 kB of BSS of which only touched pages exist */

struct found {
    pid_t pid, parent;
};

struct process {
    char state;
    pid_t parent;
    uint64_t thread_count, start_ticks;
};

static struct found found[MAX_FOUND];
static int found_count;

static struct mark {
    uint64_t start_ticks;
    pid_t pid;
} marks[MAX_MARKS];
static uint32_t mark_count;

static pid_t self;

/* Parse fields 3, 4, 20 and 22 of /proc/PID/stat; comm may hold anything, so they are counted from the last ')'. */
static bool parse_stat(const char *text, struct process *process)
{
    const char *p = strrchr(text, ')');
    if (!p || p[1] != ' ' || !p[2])
        return false;
    process->state = p[2];
    p += 3;
    for (int field = 4; field <= 22; field++) {
        uint64_t value = 0;
        while (*p == ' ' || *p == '-')
            p++;
        if (!take_number(&p, &value))
            return false;
        if (field == 4)
            process->parent = (pid_t)value;
        else if (field == 20)
            process->thread_count = value;
        else if (field == 22)
            process->start_ticks = value;
    }
    return true;
}

static bool read_process(pid_t pid, struct process *process)
{
    static char text[1024];
    char path[32];
    put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/stat");
    return read_small(AT_FDCWD, path, text, sizeof text) > 0 && parse_stat(text, process);
}

/* A zombie is dead only when it is its process's last thread: a main thread may end before the others. */
static bool is_dead(const struct process *process)
{
    return (process->state == 'Z' || process->state == 'X') && process->thread_count <= 1;
}

static void add_found(uint64_t pid, pid_t parent)
{
    if (found_count < MAX_FOUND && (pid_t)pid != self)
        found[found_count++] = (struct found){(pid_t)pid, parent};
}

/* Call add_found for each number in a file of pids; false when it cannot be opened. */
static bool add_pids(const char *path, pid_t parent)
{
    static char text[4096];
    uint64_t number = 0;
    bool inside = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++) { /* every number, the last one too, is followed by a blank */
            bool digit = text[i] >= '0' && text[i] <= '9';
            if (digit)
                number = number * 10 + (uint64_t)(text[i] - '0');
            else if (inside)
                add_found(number, parent);
            number = digit ? number : 0;
            inside = digit;
        }
    close(fd);
    return true;
}

struct dirent64_head { /* struct linux_dirent64, getdents64(2) */
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* Call `visit` with each entry of `path` whose name is a number. */
static bool each_number(const char *path, void (*visit)(uint64_t number, pid_t context), pid_t context)
{
    static _Alignas(8) char entries[8192];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (long got; (got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;)
        for (long at = 0; at < got;) {
            const struct dirent64_head *entry = (const void *)(entries + at);
            const char *name = entry->name;
            uint64_t number;
            at += entry->length;
            if (take_number(&name, &number) && !*name)
                visit(number, context);
        }
    close(fd);
    return true;
}

#ifndef TM_FULL_SCAN
#define TM_FULL_SCAN 0 /* 1: behave as on a kernel without CONFIG_PROC_CHILDREN; for tests */
#endif

static bool has_children_files = !TM_FULL_SCAN;

/* Children of one thread: /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN). */
static void add_children_of_thread(uint64_t thread, pid_t pid)
{
    char path[80];
    put_text(put_number(put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/task/"), thread), "/children");
    if (!add_pids(path, pid) && pid == self)
        has_children_files = false;
}

static void add_children(pid_t pid)
{
    char path[40];
    put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/task");
    each_number(path, add_children_of_thread, pid);
}

static void add_if_child(uint64_t pid, pid_t context)
{
    struct process process;
    (void)context;
    if (read_process((pid_t)pid, &process))
        add_found(pid, process.parent);
}

/* Without those files: list every process, then keep what leads up to us. */
static void find_by_full_scan(void)
{
    int all, kept = 0;
    each_number("/proc", add_if_child, 0);
    all = found_count;
    for (int round = -1; round < kept; round++) { /* breadth first: first our children, then those of each kept one */
        pid_t parent = round < 0 ? self : found[round].pid;
        for (int i = kept; i < all; i++)
            if (found[i].parent == parent) {
                struct found child = found[i];
                found[i] = found[kept];
                found[kept++] = child;
            }
    }
    found_count = kept;
}

/* Fill `found` with the tree as far as one look can see it: it may be changing meanwhile, so callers look again. */
static void look(void)
{
    found_count = 0;
    if (has_children_files)
        add_children(self);
    if (has_children_files)
        for (int i = 0; i < found_count; i++)
            add_children(found[i].pid);
    else
        find_by_full_scan();
}

enum grip { GRIP_NONE, GRIP_CHILD, GRIP_PIDFD };

/* Get hold of exactly the process that was found, or of nothing. Fills `process`. */
static enum grip take(const struct found *which, struct process *process, int *pidfd)
{
    bool mine = which->parent == self;
    *pidfd = mine ? -1 : (int)syscall(SYS_pidfd_open, which->pid, 0);
    if (!mine && *pidfd < 0 && errno != ENOSYS)
        return GRIP_NONE;
    bool same = read_process(which->pid, process) && !is_dead(process) &&
                (process->parent == self || process->parent == which->parent);
    if (same)
        return *pidfd >= 0 ? GRIP_PIDFD : GRIP_CHILD;
    if (*pidfd >= 0)
        close(*pidfd);
    return GRIP_NONE;
}

static void send_signal(enum grip grip, pid_t pid, int pidfd, int number)
{
    if (grip == GRIP_CHILD)
        kill(pid, number);
    else
        syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* Signal everything that was found, except `spared`; returns how many. */
static int signal_found(int first, int second, pid_t spared)
{
    int count = 0;
    for (int i = 0; i < found_count; i++) {
        struct process process;
        int pidfd;
        enum grip grip = found[i].pid == spared ? GRIP_NONE : take(&found[i], &process, &pidfd);
        if (grip == GRIP_NONE)
            continue;
        send_signal(grip, found[i].pid, pidfd, first);
        if (second)
            send_signal(grip, found[i].pid, pidfd, second);
        if (grip == GRIP_PIDFD)
            close(pidfd);
        count++;
    }
    return count;
}

/* Remember (pid, start); true when it is new. A full table says new for ever: the caller's rounds are bounded. */
static bool mark(pid_t pid, uint64_t start_ticks)
{
    uint32_t at = ((uint32_t)pid * 2654435761u) % MAX_MARKS;
    for (; marks[at].pid; at = (at + 1) % MAX_MARKS)
        if (marks[at].pid == pid && marks[at].start_ticks == start_ticks)
            return false;
    if (mark_count < MAX_MARKS - 1) {
        marks[at] = (struct mark){start_ticks, pid};
        mark_count++;
    }
    return true;
}

#define NEWEST_PIDS 16
#define CHASE_NS (2 * NS_PER_MS)

/* Stop children of ours that are younger than a look takes; returns how many.
 *
 * A full scan needs milliseconds, a process that forks and exits a fraction of one. But it always has one of the newest pids,
 * and /proc/loadavg ends with the very newest (fs/proc/loadavg.c). Its parent is dead, so it is our child, and keeps its pid
 * until we reap it.
 */
static int stop_newest(void)
{
    static char text[128];
    uint64_t end = now_ns(CLOCK_MONOTONIC) + CHASE_NS;
    int fresh = 0;
    do {
        uint64_t newest;
        const char *last = read_small(AT_FDCWD, "/proc/loadavg", text, sizeof text) > 0 ? strrchr(text, ' ') : NULL;
        if (!last || (last++, !take_number(&last, &newest)))
            return 0;
        for (uint64_t pid = newest; pid > 1 && pid + NEWEST_PIDS > newest; pid--) {
            struct process process;
            if ((pid_t)pid == self || !read_process((pid_t)pid, &process) || process.parent != self || is_dead(&process))
                continue;
            if (mark((pid_t)pid, process.start_ticks)) {
                kill((pid_t)pid, SIGSTOP);
                fresh++;
            }
        }
    } while (!fresh && now_ns(CLOCK_MONOTONIC) < end);
    return fresh;
}

/* Stop what forks until a look finds nobody new (or `patience_ns` is over), then kill all that was found.
 *
 * A chain of processes that fork and exit faster than one look would outrun a mere kill loop; a stopped tree cannot move.
 */
static void sweep(uint64_t patience_ns)
{
    uint64_t end = now_ns(CLOCK_MONOTONIC) + patience_ns;
    int fresh;
    do {
        fresh = 0;
        look();
        for (int i = 0; i < found_count; i++) {
            struct process process;
            int pidfd;
            enum grip grip = take(&found[i], &process, &pidfd);
            if (grip == GRIP_NONE)
                continue;
            if (mark(found[i].pid, process.start_ticks)) {
                fresh++;
                send_signal(grip, found[i].pid, pidfd, SIGSTOP);
            }
            if (grip == GRIP_PIDFD)
                close(pidfd);
        }
        if (!has_children_files)
            fresh += stop_newest();
    } while (fresh && now_ns(CLOCK_MONOTONIC) < end);
    signal_found(SIGKILL, 0, 0);
}

#endif
