/* Watch mode: a process that ran before, and is nobody's child here, is followed to its end; it is ended only by an order.
 *
 * No wait4 and no subreaper: whatever is known of the target comes through a pidfd that was opened while its start time was
 * checked, and the target's own tree can lose members to init at any time. So this is promised: the target gets each signal
 * or is gone; of its descendants those that a look found below it, or below one found before, get theirs; a stranger gets none.
 * Every signal goes through a pidfd after whose opening (pid, start time) was compared.
 */
#ifndef TASKMETER_SHIM_ATTACH_H
#define TASKMETER_SHIM_ATTACH_H

#define MAX_RELATIVES 16384
/* Before a kill everybody has to be found: we are not their subreaper, so whoever is missed then is missed for good. Each look
 * stops those it finds, so what forks comes to an end, however long we were kept from the processor in between. */
#define KILL_PATIENCE_NS (5 * NS_PER_S)
#define USAGE_EVERY_NS (200 * NS_PER_MS) /* what was not seen of the target's CPU when it is reaped is not billed … */
#define USAGE_SLOWLY_NS NS_PER_S         /* … but who sleeps uses none */
#define STATUS_EVERY_NS (20 * NS_PER_MS)
#define STATUS_PATIENCE_NS NS_PER_S    /* for the parent of an ended target to reap it */

/* struct pidfd_info and PIDFD_GET_INFO of include/uapi/linux/pidfd.h, which the C library's headers may be too old for. With
 * PIDFD_INFO_EXIT (Linux 6.15) a pidfd that was opened before keeps the wait status of whoever was reaped, for anybody. */
struct pidfd_facts {
    uint64_t mask, cgroup_id;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
#define GET_PIDFD_FACTS _IOWR(0xFF, 11, struct pidfd_facts)
#define FACTS_OF_EXIT (1ull << 3)
_Static_assert(sizeof(struct pidfd_facts) == 64, "PIDFD_INFO_SIZE_VER0");

#ifndef TM_HIDE_STATUS
#define TM_HIDE_STATUS 0 /* 1: behave as where no status of a stranger's child can be read; for tests */
#endif

static bool with_descendants;
static uint64_t used_before_ns; /* CPU of the target when it was attached */

static struct relative {
    pid_t pid;
    bool foreign; /* not ours to signal, so not ours to wait for */
    uint64_t start_ticks;
} relatives[MAX_RELATIVES];
static int relative_count;

static int signal_pidfd(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* Once it is reaped its pid may be anybody's; a zombie still has it, and so has one that we may not signal. */
static bool target_has_its_pid(void)
{
    return signal_pidfd(task.target, 0) == 0 || errno != ESRCH;
}

/* ---- what it used, how it ended -------------------------------------------------------------------------------------- */

/* The CPU clock of a process (clock_getcpuclockid(3), CPUCLOCK_SCHED): its own threads, dead ones too, not its children. */
static bool read_clock(uint64_t *used_ns)
{
    struct timespec used;
    if (clock_gettime((clockid_t)((~(unsigned)main_pid << 3) | 2), &used) || !target_has_its_pid())
        return false;
    *used_ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return true;
}

/* Record what it has used; false when that is nothing new. */
static bool take_usage(void)
{
    uint64_t used_ns;
    if (!read_clock(&used_ns) || used_ns - used_before_ns == gone.reaped_user_ns)
        return false;
    gone.reaped_user_ns = used_ns - used_before_ns;
    publish_soon();
    return true;
}

/* Whether `status` of a process has this id as its real, effective and saved one. */
static bool has_ids(const char *status, const char *name, uint64_t id)
{
    char line[96], *end = put_text(line, name);
    for (int i = 0; i < 3; i++)
        end = put_text(put_number(end, id), "\t");
    return strstr(status, line) != NULL;
}

/* Whether the kernel shows us what only who may trace the target sees (ptrace_may_access in kernel/ptrace.c): with CAP_SYS_PTRACE
 * its io can be read; without, our ids have to be all of its. A zombie's own files belong to root, so that io alone would not do. */
static bool may_trace(char *path, char *name, char *text, size_t size)
{
    put_text(name, "/io");
    if (read_small(AT_FDCWD, path, text, size) > 0)
        return true;
    put_text(name, "/status");
    return read_small(AT_FDCWD, path, text, size) > 0 && has_ids(text, "\nUid:\t", geteuid()) && has_ids(text, "\nGid:\t", getegid());
}

/* A zombie's wait status is the last field of its stat, 52; it is shown as 0 to whom the kernel would not let trace it
 * (fs/proc/array.c), so a 0 counts only if we may. */
static bool read_zombie(int *status)
{
    static char text[4096];
    char path[32], *name = put_number(put_text(path, "/proc/"), (uint64_t)main_pid);
    struct process process;
    uint64_t value = 0;
    put_text(name, "/stat");
    if (read_small(AT_FDCWD, path, text, sizeof text) <= 0 || !parse_stat(text, &process) || process.state != 'Z')
        return false;
    const char *p = strrchr(text, ')') + 1;
    for (int field = 3; p && field < 52; field++) /* p: the blank before it */
        p = strchr(p + 1, ' ');
    if (!p || (p++, !take_number(&p, &value)) || process.start_ticks != started.start_ticks)
        return false;
    if (!value && !may_trace(path, name, text, sizeof text))
        return false;
    *status = (int)value;
    return target_has_its_pid();
}

static bool read_status(int *status)
{
    struct pidfd_facts facts = {.mask = FACTS_OF_EXIT};
    if (TM_HIDE_STATUS)
        return false;
    if (ioctl(task.target, GET_PIDFD_FACTS, &facts) == 0 && (facts.mask & FACTS_OF_EXIT)) {
        *status = facts.exit_code;
        return true;
    }
    return read_zombie(status);
}

/* See whether the target has ended, and write down how. */
static void look_at_target(uint64_t now)
{
    struct pollfd ended = {.fd = task.target, .events = POLLIN};
    int status;
    if (poll(&ended, 1, 0) <= 0)
        return;
    if (!over_since_ns) {
        over_since_ns = now;
        take_usage();
    }
    bool reaped = !target_has_its_pid(); /* asked first: the status is kept before the pid is given back */
    if (read_status(&status)) {
        outcome.kind = WIFSIGNALED(status) ? TM_EXIT_SIGNALED : TM_EXIT_EXITED;
        outcome.code = WIFSIGNALED(status) ? 0 : WEXITSTATUS(status);
        outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        outcome.core = WIFSIGNALED(status) && WCOREDUMP(status) ? 1 : 0;
    } else if (reaped || now >= over_since_ns + STATUS_PATIENCE_NS) {
        outcome.kind = TM_EXIT_UNKNOWN;
    } else {
        return;
    }
    main_alive = false;
    write_exit();
}

/* ---- its descendants ------------------------------------------------------------------------------------------------- */

/* Whether (pid, start) was marked; start 0: whether that pid was, whoever had it. */
static bool is_marked(pid_t pid, uint64_t start_ticks)
{
    uint32_t at = ((uint32_t)pid * 2654435761u) % MAX_MARKS;
    for (; marks[at].pid; at = (at + 1) % MAX_MARKS)
        if (marks[at].pid == pid && (!start_ticks || marks[at].start_ticks == start_ticks))
            return true;
    return false;
}

/* The parent of another task, which may have been started from below the target. Its tree is not the target's. */
static bool is_shim(pid_t pid)
{
    char path[32], name[32];
    put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/comm");
    return read_small(AT_FDCWD, path, name, sizeof name) > 0 && !strncmp(name, "taskmeter-shim", 14);
}

/* Remember a process that was found below a known one, and signal it; true when it is new.
 *
 * The child is read first and its parent then: as long as that pid is who it was, the child's stat means that process. And
 * should the child's own pid have changed hands, its pidfd refers to the dead.
 */
static bool take_relative(const struct found *which, int number)
{
    struct process child, parent;
    if (!is_marked(which->parent, 0)) /* spares the strangers of a full scan */
        return false;
    int pidfd = (int)syscall(SYS_pidfd_open, which->pid, 0);
    if (pidfd < 0)
        return false;
    bool fresh = relative_count < MAX_RELATIVES && read_process(which->pid, &child) && !is_dead(&child) &&
                 child.parent == which->parent && read_process(which->parent, &parent) &&
                 is_marked(which->parent, parent.start_ticks) && !is_shim(which->pid) && mark(which->pid, child.start_ticks);
    if (fresh) {
        relatives[relative_count++] = (struct relative){.pid = which->pid, .start_ticks = child.start_ticks};
        if (number)
            relatives[relative_count - 1].foreign = signal_pidfd(pidfd, number) < 0 && errno == EPERM;
    }
    close(pidfd);
    return fresh;
}

static bool threads_stand_still;

static void see_thread(uint64_t thread, pid_t pid)
{
    static char text[1024];
    char path[80];
    struct process process;
    put_text(put_number(put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/task/"), thread), "/stat");
    if (read_small(AT_FDCWD, path, text, sizeof text) > 0 && parse_stat(text, &process) && !strchr("TtZX", process.state))
        threads_stand_still = false;
}

/* Whether it is stopped or dead. The state is the main thread's; where that has ended, all others are asked. */
static bool stands_still(pid_t pid, const struct process *process)
{
    char path[40];
    if (process->state != 'Z' || process->thread_count <= 1)
        return is_dead(process) || process->state == 'T' || process->state == 't';
    put_text(put_number(put_text(path, "/proc/"), (uint64_t)pid), "/task");
    threads_stand_still = true;
    each_number(path, see_thread, pid);
    return threads_stand_still;
}

/* Whether everybody who was told to stop has stopped. A stop signal that comes while its receiver is in the middle of a fork takes
 * effect after that: until then there may be a child that no look has seen.
 */
static bool all_stand_still(void)
{
    struct process process;
    for (int i = -1; i < relative_count; i++) {
        if (i < 0 ? !main_alive : relatives[i].foreign)
            continue;
        pid_t pid = i < 0 ? main_pid : relatives[i].pid;
        if (!read_process(pid, &process))
            continue;
        if (i >= 0 && process.start_ticks != relatives[i].start_ticks)
            continue;
        if (!stands_still(pid, &process))
            return false;
    }
    return true;
}

/* Look below the target and all that was found until nobody is new and, with `number`, a stop signal that each new one gets,
 * nobody could have had a child meanwhile; or until patience is over.
 */
static void find_relatives(int number, uint64_t patience_ns)
{
    uint64_t end = now_ns(CLOCK_MONOTONIC) + patience_ns;
    int fresh;
    bool still;
    do {
        still = !number || all_stand_still(); /* before the look, which then misses nobody */
        fresh = found_count = 0;
        if (has_children_files) {
            if (main_alive)
                add_children(main_pid);
            for (int i = 0; i < relative_count; i++)
                add_children(relatives[i].pid);
        } else {
            each_number("/proc", add_if_child, 0);
        }
        for (int i = 0; i < found_count; i++)
            fresh += take_relative(&found[i], number);
    } while ((fresh || !still) && now_ns(CLOCK_MONOTONIC) < end);
}

/* A pidfd of exactly that process, or -1 when it is no more. */
static int open_relative(const struct relative *which)
{
    struct process process;
    int pidfd = (int)syscall(SYS_pidfd_open, which->pid, 0);
    if (pidfd < 0)
        return -1;
    if (read_process(which->pid, &process) && process.start_ticks == which->start_ticks && !is_dead(&process))
        return pidfd;
    close(pidfd);
    return -1;
}

/* Signal those that live; returns how many were. */
static uint32_t signal_relatives(int first, int second)
{
    uint32_t count = 0;
    for (int i = 0; i < relative_count; i++) {
        int pidfd = open_relative(&relatives[i]);
        if (pidfd < 0)
            continue;
        relatives[i].foreign = signal_pidfd(pidfd, first) < 0 && errno == EPERM;
        if (second)
            signal_pidfd(pidfd, second);
        count += !relatives[i].foreign;
        close(pidfd);
    }
    return count;
}

/* List in `gone` whom we wait for; true when there is somebody. */
static bool list_the_living(void)
{
    gone.unkillable_count = 0;
    for (int i = -1; i < relative_count; i++) {
        int pidfd = -1;
        if (i >= 0 && (relatives[i].foreign || (pidfd = open_relative(&relatives[i])) < 0))
            continue;
        if (pidfd >= 0)
            close(pidfd);
        if (i < 0 && !main_alive)
            continue;
        if (gone.unkillable_count < TM_GONE_MAX_UNKILLABLE)
            gone.unkillable_pids[gone.unkillable_count] = i < 0 ? main_pid : relatives[i].pid;
        gone.unkillable_count++;
    }
    return gone.unkillable_count > 0;
}

/* ---- ending it, when asked to ------------------------------------------------------------------------------------------ */

/* An order has come. Descendants are looked for now: when the target ends, those that outlive it belong to init. */
static void ask_target(void)
{
    if (!main_alive || cause == TM_CAUSE_INTERRUPT)
        return;
    bool gently = kill_at_ns > now_ns(CLOCK_MONOTONIC); /* however long the look takes */
    if (with_descendants)
        find_relatives(0, STOP_PATIENCE_NS);
    if (gently) {
        signal_pidfd(task.target, SIGTERM);
        signal_pidfd(task.target, SIGCONT);
    }
}

/* Stop everything until nobody is new, then kill it, as in tree.h: a mere kill loop is outrun by what forks. */
static void kill_target(uint64_t now)
{
    bool first = !kill_began_ns;
    if (first) {
        kill_began_ns = now;
        outcome.forced = main_alive;
        gone.killed_count += main_alive;
    }
    if (with_descendants) {
        int known = relative_count;
        if (main_alive)
            signal_pidfd(task.target, SIGSTOP);
        signal_relatives(SIGSTOP, 0);
        find_relatives(SIGSTOP, KILL_PATIENCE_NS);
        uint32_t killed = signal_relatives(SIGKILL, 0);
        gone.killed_count += first ? killed : (uint32_t)(relative_count - known);
    }
    if (main_alive)
        signal_pidfd(task.target, SIGKILL);
    next_sweep_ns = now_ns(CLOCK_MONOTONIC) + SWEEP_EVERY_NS;
    if (now < kill_began_ns + UNKILLABLE_NS)
        return;
    next_sweep_ns += SWEEP_SLOWLY_NS - SWEEP_EVERY_NS;
    list_the_living();
    publish_gone();
    hint(TM_HINT_EXIT);
}

/* ---- from its start to its end ------------------------------------------------------------------------------------------ */

/* Get hold of exactly the process that was meant, or of nothing, with errno. */
static bool open_target(const struct tm_launch *head)
{
    struct process process;
    uint64_t now_boottime_ns = now_ns(CLOCK_BOOTTIME), now_realtime_ns = now_ns(CLOCK_REALTIME);
    task.target = head->attach_pid ? (int)syscall(SYS_pidfd_open, head->attach_pid, 0) : -1;
    if (task.target < 0) {
        errno = head->attach_pid && errno != EINVAL ? errno : ESRCH;
        return false;
    }
    if (!read_process(head->attach_pid, &process) || process.start_ticks != head->attach_start_ticks || is_dead(&process)) {
        errno = ESRCH;
        return false;
    }
    main_pid = head->attach_pid;
    main_alive = true;
    with_descendants = head->flags & TM_LAUNCH_DESCENDANTS;
    outcome.pid = main_pid;
    outcome.start_boottime_ns = now_boottime_ns;
    outcome.start_realtime_ns = now_realtime_ns;
    read_clock(&used_before_ns);
    mark(main_pid, process.start_ticks);
    add_children(self); /* we have none; it tells whether this kernel has such files */
    started.magic = TM_MAGIC_PID;
    started.version = TM_VERSION;
    started.pid = main_pid;
    started.flags = TM_PID_ATTACHED | (with_descendants ? TM_PID_DESCENDANTS : 0);
    started.start_ticks = process.start_ticks;
    started.start_boottime_ns = process.start_ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    started.start_realtime_ns = now_realtime_ns - (now_boottime_ns - started.start_boottime_ns);
    put_record(task.pid, &started, sizeof started, 0);
    hint(TM_HINT_STARTED);
    return true;
}

static void follow(void)
{
    bool rest_asked = false;
    for (;;) {
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (main_alive)
            look_at_target(now);
        read_ctl();
        if (main_alive && cause == TM_CAUSE_INTERRUPT) {
            outcome.kind = TM_EXIT_DETACHED;
            take_usage();
            write_exit();
            return;
        }
        if (!main_alive && (!first_term_ns || !list_the_living()))
            return;
        if (!main_alive && !rest_asked) {
            rest_asked = true;
            hint(TM_HINT_EXIT);
            signal_relatives(SIGTERM, SIGCONT);
            fdatasync(task.exit);
        }
        now = now_ns(CLOCK_MONOTONIC);
        if (now >= kill_at_ns && (!kill_began_ns || now >= next_sweep_ns))
            kill_target(now);
        if (main_alive && !over_since_ns && now >= usage_at_ns)
            usage_at_ns = now + (take_usage() ? USAGE_EVERY_NS : USAGE_SLOWLY_NS);
        if (over_since_ns)
            usage_at_ns = now + STATUS_EVERY_NS;
        if (now >= publish_at_ns)
            publish_gone();
        if (now >= hint_again_ns)
            hint(hint_waiting);
        wait_for_news();
    }
}

/* Everything that watch mode does; when it returns, `exit` is written and only `gone` is left to be. */
static void watch(struct block *block)
{
    task.cgroup_v2 = -1;
    if (cause)
        outcome.kind = TM_EXIT_NEVER_STARTED;
    else if (!open_target(block->head))
        refuse_exit(TM_STAGE_ATTACH, errno, 126);
    block_forget(block);
    if (!main_alive) {
        write_exit();
        return;
    }
    shield_from_oom();
    usage_at_ns = now_ns(CLOCK_MONOTONIC) + USAGE_EVERY_NS;
    follow();
}

#endif
