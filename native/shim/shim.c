/* taskmeter-shim: the parent of one task. See README.md beside this file for the protocol and the order of steps.
 *
 * It outlives the daemon, reaps the whole tree, keeps the grace period and the timeout, and writes what happened into the
 * attempt directory. No allocation after start: the launch block is mapped, used, and unmapped; all else is static.
 *
 * Build: cc -std=gnu11 -Os -static -Wall -Wextra -Werror -o taskmeter-shim shim.c
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "child.h"
#include "tree.h"

#define SWEEP_EVERY_NS (50 * NS_PER_MS)
#define SWEEP_SLOWLY_NS (500 * NS_PER_MS) /* once something has not died for UNKILLABLE_NS */
#define UNKILLABLE_NS NS_PER_S
#define STOP_PATIENCE_NS (100 * NS_PER_MS)
#define CGROUP_KILL_LEAD_NS (20 * NS_PER_MS) /* what cgroup.kill gets done before the first sweep for escapees */
#define PUBLISH_EVERY_NS (50 * NS_PER_MS)
#define HINT_RETRY_NS (20 * NS_PER_MS)
#define HINT_RETRIES 25 /* half a second: then the daemon's own sweep will find it */
#define NEVER UINT64_MAX
#define SHIM_OOM_SCORE "-900" /* the kernel should rather take the task than the one who tells how it ended */

static struct {
    int dir, ctl, pid, exit, gone, pipe, timer;
    int target; /* pidfd of the process that is attached; -1 = none is, main is our child */
    int cgroup_v2, cgroup_v1[TM_MAX_CGROUPS_V1], cgroup_v1_count;
    char token[sizeof((struct tm_hint *)0)->token];
    uint32_t attempt;
    uint64_t incarnation, grace_ns, deadline_ns;
    struct sockaddr_un hints;
    bool has_hints;
} task;

static struct tm_exit outcome; /* filled as we learn; written once */
static char command[TM_SUBJECT_BYTES], directory[TM_SUBJECT_BYTES]; /* for outcome.subject: the block is gone by then */
static struct tm_pid started;
static struct tm_gone gone;
static pid_t main_pid;
static bool main_alive, exec_announced, exec_done, watching;
static struct report refusal;
static uint32_t acted_serial;
static enum tm_cause cause;
static uint64_t first_term_ns, kill_at_ns = NEVER, kill_began_ns, next_sweep_ns;
static uint64_t publish_at_ns = NEVER, last_publish_ns;
static uint64_t hint_again_ns = NEVER;
static uint64_t usage_at_ns = NEVER, over_since_ns; /* watch mode: when to look again; its end was seen, not yet how */
static int hint_waiting, hint_tries;

/* ---- records ------------------------------------------------------------------------------------------------------ */

/* Every record is small, in one page, and its blocks are there already: this cannot fail for want of space. */
static void put_record(int fd, void *record, size_t size, off_t at)
{
    uint32_t *crc = (uint32_t *)((char *)record + size - sizeof *crc);
    *crc = crc32_of(record, size - sizeof *crc);
    while (pwrite(fd, record, size, at) < 0 && errno == EINTR)
        ;
}

static void publish_gone(void)
{
    gone.magic = TM_MAGIC_GONE;
    gone.version = TM_VERSION;
    gone.incarnation = task.incarnation;
    gone.serial++;
    put_record(task.gone, &gone, sizeof gone, gone.serial & 1 ? 0 : TM_GONE_SLOT_BYTES);
    last_publish_ns = now_ns(CLOCK_MONOTONIC);
    publish_at_ns = NEVER;
}

static void publish_soon(void)
{
    if (publish_at_ns == NEVER)
        publish_at_ns = last_publish_ns + PUBLISH_EVERY_NS;
}

/* One datagram; when the daemon's queue is full we try again, when there is no daemon we do not. */
static void hint(int kind)
{
    struct tm_hint message = {.kind = (uint32_t)kind, .attempt = task.attempt};
    hint_again_ns = NEVER;
    if (!task.has_hints)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    memcpy(message.token, task.token, sizeof message.token);
    if (sendto(fd, &message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&task.hints, sizeof task.hints) < 0 &&
        errno == EAGAIN && hint_tries++ < HINT_RETRIES) {
        hint_waiting = kind;
        hint_again_ns = now_ns(CLOCK_MONOTONIC) + HINT_RETRY_NS;
    }
    close(fd);
}

static uint64_t number_in(int dir, const char *file, const char *name)
{
    static char text[4096];
    uint64_t number = 0;
    if (dir >= 0 && read_small(dir, file, text, sizeof text) > 0)
        find_number(text, name, &number);
    return number;
}

/* What everything we reaped has read or written: the process's total, which takes over that of the dead, less our own. */
static uint64_t reaped_io(const char *name)
{
    static char text[512];
    uint64_t total, own;
    if (read_small(AT_FDCWD, "/proc/self/io", text, sizeof text) <= 0 || !find_number(text, name, &total))
        return ~0ull;
    if (read_small(AT_FDCWD, "/proc/thread-self/io", text, sizeof text) <= 0 || !find_number(text, name, &own))
        return ~0ull;
    return total > own ? total - own : 0;
}

/* ---- stopping ------------------------------------------------------------------------------------------------------ */

static void ask_target(void);

/* Ask the tree to end, or to end sooner. While main lives it is asked first: it knows best how to stop its children. */
static void order(enum tm_cause why, uint64_t grace_ns)
{
    uint64_t now = now_ns(CLOCK_MONOTONIC), limit;
    bool first = !first_term_ns;
    if (first) {
        first_term_ns = now;
        if (main_alive || !main_pid)
            cause = why;
    }
    limit = grace_ns < NEVER - first_term_ns ? first_term_ns + grace_ns : NEVER - 1;
    if (limit < kill_at_ns)
        kill_at_ns = limit;
    if (first && task.target >= 0) {
        ask_target();
    } else if (first && main_alive && kill_at_ns > now) {
        kill(main_pid, SIGTERM);
        kill(main_pid, SIGCONT);
        failpoint(TM_FAIL_AFTER_TERM);
    }
}

static void read_ctl(void)
{
    struct tm_ctl ctl;
    if (task.ctl < 0 || pread(task.ctl, &ctl, sizeof ctl, 0) != sizeof ctl)
        return;
    if (ctl.magic != TM_MAGIC_CTL || ctl.version != TM_VERSION || ctl.crc != crc32_of(&ctl, offsetof(struct tm_ctl, crc)))
        return;
    if (ctl.serial <= acted_serial)
        return;
    acted_serial = ctl.serial;
    order(ctl.cause ? (enum tm_cause)ctl.cause : TM_CAUSE_CANCEL, ctl.grace_ns);
}

static bool kill_cgroup(void)
{
    int fd = task.cgroup_v2 < 0 ? -1 : openat(task.cgroup_v2, "cgroup.kill", O_WRONLY | O_CLOEXEC); /* Linux 5.14 */
    if (fd < 0)
        return false;
    bool done = write(fd, "1", 1) == 1;
    close(fd);
    return done;
}

static void kill_tree(uint64_t now)
{
    bool first = !kill_began_ns;
    if (first) {
        kill_began_ns = now;
        outcome.forced = main_alive;
        failpoint(TM_FAIL_BEFORE_KILL);
    }
    if (kill_cgroup() && first) {
        gone.killed_count++;
        next_sweep_ns = now + CGROUP_KILL_LEAD_NS;
        return;
    }
    uint32_t marked_before = mark_count;
    sweep(STOP_PATIENCE_NS);
    gone.killed_count += mark_count - marked_before;
    next_sweep_ns = now_ns(CLOCK_MONOTONIC) + SWEEP_EVERY_NS;
    if (now < kill_began_ns + UNKILLABLE_NS)
        return;
    next_sweep_ns += SWEEP_SLOWLY_NS - SWEEP_EVERY_NS;
    gone.unkillable_count = 0;
    for (int i = 0; i < found_count; i++) {
        struct process process;
        /* One that is dead and that nobody can reap counts, too: a debugger holds it, or a parent that hangs. */
        if (!read_process(found[i].pid, &process))
            continue;
        if (gone.unkillable_count < TM_GONE_MAX_UNKILLABLE)
            gone.unkillable_pids[gone.unkillable_count] = found[i].pid;
        gone.unkillable_count++;
    }
    publish_gone();
    hint(TM_HINT_EXIT);
}

/* ---- the main process ---------------------------------------------------------------------------------------------- */

/* Learn from the pipe how far the child came; nothing more comes once it has exec'ed or died. */
static void read_pipe(void)
{
    struct report message;
    ssize_t got;
    while ((got = read(task.pipe, &message, sizeof message)) == sizeof message) {
        exec_announced |= message.stage == TM_STAGE_EXEC && !message.error;
        if (message.error)
            refusal = message;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(task.pipe);
    task.pipe = -1;
    if (!exec_announced || refusal.error)
        return;
    exec_done = true;
    started.magic = TM_MAGIC_PID;
    started.version = TM_VERSION;
    started.pid = main_pid;
    put_record(task.pid, &started, sizeof started, 0);
    hint(TM_HINT_STARTED);
}

static void write_exit(void)
{
    outcome.magic = TM_MAGIC_EXIT;
    outcome.version = TM_VERSION;
    outcome.incarnation = task.incarnation;
    outcome.cause = cause;
    outcome.end_realtime_ns = now_ns(CLOCK_REALTIME);
    outcome.end_boottime_ns = now_ns(CLOCK_BOOTTIME);
    failpoint(TM_FAIL_BEFORE_EXIT_WRITE);
    if (armed_failpoint == TM_FAIL_MID_EXIT_WRITE && pwrite(task.exit, &outcome, offsetof(struct tm_exit, code), 0) > 0)
        failpoint(TM_FAIL_MID_EXIT_WRITE);
    put_record(task.exit, &outcome, sizeof outcome, 0);
    failpoint(TM_FAIL_AFTER_EXIT_WRITE);
}

static void refuse_exit(int stage, int error, int code)
{
    outcome.kind = TM_EXIT_EXEC_FAILED;
    outcome.stage = (uint32_t)stage;
    outcome.error = error;
    outcome.code = code;
    if (stage == TM_STAGE_EXEC || stage == TM_STAGE_CWD)
        memcpy(outcome.subject, stage == TM_STAGE_EXEC ? command : directory, sizeof outcome.subject - 1);
}

static void main_ended(int status, const struct rusage *usage)
{
    if (task.pipe >= 0)
        read_pipe(); /* the child is dead, so this finds the end of the pipe */
    main_alive = false;
    outcome.pid = main_pid;
    outcome.user_ns = (uint64_t)usage->ru_utime.tv_sec * NS_PER_S + (uint64_t)usage->ru_utime.tv_usec * NS_PER_US;
    outcome.system_ns = (uint64_t)usage->ru_stime.tv_sec * NS_PER_S + (uint64_t)usage->ru_stime.tv_usec * NS_PER_US;
    outcome.max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024;
    if (exec_done) {
        outcome.start_realtime_ns = started.start_realtime_ns;
        outcome.start_boottime_ns = started.start_boottime_ns;
    }
    outcome.oom_kill_count = (uint32_t)number_in(task.cgroup_v2, "memory.events", "oom_kill ");
    for (int i = 0; i < task.cgroup_v1_count && !outcome.oom_kill_count; i++)
        outcome.oom_kill_count = (uint32_t)number_in(task.cgroup_v1[i], "memory.oom_control", "oom_kill ");
    if (refusal.error) {
        refuse_exit(refusal.stage, refusal.error, WIFEXITED(status) ? WEXITSTATUS(status) : 126);
    } else if (!exec_done && cause) {
        outcome.kind = TM_EXIT_NEVER_STARTED;
    } else if (WIFSIGNALED(status)) {
        outcome.kind = TM_EXIT_SIGNALED;
        outcome.signal = WTERMSIG(status);
        outcome.core = WCOREDUMP(status) ? 1 : 0;
    } else {
        outcome.kind = TM_EXIT_EXITED;
        outcome.code = WEXITSTATUS(status);
    }
    write_exit();
}

/* Reap whatever has ended; true when there is nobody left. */
static bool reap(void)
{
    for (;;) {
        struct rusage usage;
        int status;
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
        if (pid <= 0) {
            if (pid < 0 && errno == EINTR)
                continue;
            return pid < 0;
        }
        uint64_t rss = (uint64_t)usage.ru_maxrss * 1024;
        gone.reaped_count++;
        gone.reaped_user_ns += (uint64_t)usage.ru_utime.tv_sec * NS_PER_S + (uint64_t)usage.ru_utime.tv_usec * NS_PER_US;
        gone.reaped_system_ns += (uint64_t)usage.ru_stime.tv_sec * NS_PER_S + (uint64_t)usage.ru_stime.tv_usec * NS_PER_US;
        gone.reaped_minor_faults += (uint64_t)usage.ru_minflt;
        gone.reaped_major_faults += (uint64_t)usage.ru_majflt;
        gone.reaped_voluntary_switches += (uint64_t)usage.ru_nvcsw;
        gone.reaped_involuntary_switches += (uint64_t)usage.ru_nivcsw;
        if (rss > gone.reaped_max_rss_bytes)
            gone.reaped_max_rss_bytes = rss;
        publish_soon();
        if (pid == main_pid && main_alive)
            main_ended(status, &usage);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

/* Main is gone and others are not: they get what is left of the grace period, or a whole one if nobody asked to stop. */
static void end_the_rest(void)
{
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    hint(TM_HINT_EXIT);
    if (!first_term_ns)
        order(TM_CAUSE_NONE, task.grace_ns);
    if (kill_at_ns > now) {
        look();
        signal_found(SIGTERM, SIGCONT, main_pid);
    }
    fdatasync(task.exit);
}

static void wait_for_news(void)
{
    uint64_t now = now_ns(CLOCK_MONOTONIC), until = NEVER;
    struct pollfd wanted[3] = {
        {.fd = task.pipe, .events = POLLIN},
        {.fd = task.timer, .events = POLLIN},
        {.fd = main_alive ? task.target : -1, .events = over_since_ns ? 0 : POLLIN},
    };
    struct timespec timeout;
    sigset_t open;
    sigfillset(&open);
    sigdelset(&open, SIGCHLD);
    sigdelset(&open, SIGRTMIN);
    if (kill_at_ns != NEVER)
        until = kill_began_ns ? next_sweep_ns : kill_at_ns;
    if (publish_at_ns < until)
        until = publish_at_ns;
    if (hint_again_ns < until)
        until = hint_again_ns;
    if (usage_at_ns < until)
        until = usage_at_ns;
    uint64_t left = until > now ? until - now : 0;
    timeout.tv_sec = (time_t)(left / NS_PER_S);
    timeout.tv_nsec = (long)(left % NS_PER_S);
    ppoll(wanted, 3, until == NEVER ? NULL : &timeout, &open);
}

static void supervise(void)
{
    bool rest_asked = false;
    for (;;) {
        if (task.pipe >= 0)
            read_pipe();
        if (reap())
            return;
        if (!main_alive && !rest_asked) {
            rest_asked = true;
            end_the_rest();
        }
        read_ctl();
        if (task.deadline_ns && now_ns(CLOCK_BOOTTIME) >= task.deadline_ns) {
            task.deadline_ns = 0;
            close(task.timer);
            task.timer = -1;
            if (main_alive) /* during a stop, too, it leaves one grace period from now */
                order(TM_CAUSE_TIMEOUT, task.grace_ns + (first_term_ns ? now_ns(CLOCK_MONOTONIC) - first_term_ns : 0));
        }
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (now >= kill_at_ns && (!kill_began_ns || now >= next_sweep_ns)) {
            kill_tree(now);
            continue; /* most of it has died by now */
        }
        if (now >= publish_at_ns)
            publish_gone();
        if (now >= hint_again_ns)
            hint(hint_waiting);
        wait_for_news();
    }
}

static void finish(void)
{
    gone.final = 1;
    gone.unkillable_count = 0;
    gone.end_realtime_ns = now_ns(CLOCK_REALTIME);
    gone.end_boottime_ns = now_ns(CLOCK_BOOTTIME);
    gone.cgroup_cpu_ns = number_in(task.cgroup_v2, "cpu.stat", "usage_usec") * NS_PER_US;
    gone.cgroup_user_ns = number_in(task.cgroup_v2, "cpu.stat", "user_usec") * NS_PER_US;
    gone.cgroup_system_ns = number_in(task.cgroup_v2, "cpu.stat", "system_usec") * NS_PER_US;
    for (int i = 0; i < task.cgroup_v1_count && !gone.cgroup_cpu_ns; i++)
        gone.cgroup_cpu_ns = number_in(task.cgroup_v1[i], "cpuacct.usage", "");
    gone.cgroup_peak_memory_bytes = number_in(task.cgroup_v2, "memory.peak", "");
    for (int i = 0; i < task.cgroup_v1_count && !gone.cgroup_peak_memory_bytes; i++)
        gone.cgroup_peak_memory_bytes = number_in(task.cgroup_v1[i], "memory.max_usage_in_bytes", "");
    gone.read_bytes = watching ? ~0ull : reaped_io("read_bytes:");
    gone.write_bytes = watching ? ~0ull : reaped_io("write_bytes:");
    publish_gone();
    /* The hint may come before the disk: what the daemon commits on the strength of it is in the daemon's own journal. */
    hint(TM_HINT_GONE);
    fdatasync(task.exit);
    fdatasync(task.gone);
}

/* ---- start ---------------------------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    (void)number; /* its only work is to end ppoll */
}

static void prepare_signals(void)
{
    sigset_t all;
    struct sigaction wake = {.sa_handler = on_signal, .sa_flags = SA_NOCLDSTOP};
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* TERM, HUP, INT, PIPE … stay pending for ever: ignored */
    sigaction(SIGCHLD, &wake, NULL);
    sigaction(SIGRTMIN, &wake, NULL);
}

static int open_record(const char *name, int how)
{
    return openat(task.dir, name, how | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool lock_attempt(void)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open_record("lock", O_RDWR); /* never closed: closing any descriptor of it would drop the lock */
    return fd >= 0 && fcntl(fd, F_SETLK, &whole) == 0;
}

/* Win the attempt, or leave. */
static void claim(const struct tm_launch *head)
{
    struct process me = {0};
    struct tm_claim record = {.magic = TM_MAGIC_CLAIM, .version = TM_VERSION, .shim_pid = self, .incarnation = head->incarnation};
    int fd = open_record("claim", O_WRONLY | O_EXCL);
    if (fd < 0)
        _exit(errno == EEXIST ? TM_SHIM_CLAIMED : TM_SHIM_IO);
    read_process(self, &me);
    record.shim_start_ticks = me.start_ticks;
    memcpy(record.boot_id, head->boot_id, sizeof record.boot_id);
    put_record(fd, &record, sizeof record, 0);
    close(fd);
}

static void open_attempt(const struct block *block)
{
    const struct tm_launch *head = block->head;
    task.dir = open(block_text(block, head->attempt_dir_offset), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (task.dir < 0)
        _exit(TM_SHIM_IO);
    if (!lock_attempt())
        _exit(errno == EAGAIN || errno == EACCES ? TM_SHIM_CLAIMED : TM_SHIM_IO);
    failpoint(TM_FAIL_AFTER_LOCK);
    claim(head);
    failpoint(TM_FAIL_AFTER_CLAIM);
    task.ctl = open_record("ctl", O_RDONLY);
    task.pid = open_record("pid", O_WRONLY);
    task.exit = open_record("exit", O_WRONLY);
    task.gone = open_record("gone", O_WRONLY);
    task.incarnation = started.incarnation = head->incarnation;
    task.attempt = head->attempt;
    task.grace_ns = head->grace_ns;
    task.deadline_ns = head->deadline_boottime_ns;
    put_text(task.token, block_text(block, head->token_offset));
    if (head->argc)
        strncpy(command, block_text(block, head->argv_offset), sizeof command - 1);
    if (head->cwd_offset)
        strncpy(directory, block_text(block, head->cwd_offset), sizeof directory - 1);
    task.has_hints = head->hints_offset != 0;
    task.hints.sun_family = AF_UNIX;
    if (task.has_hints)
        put_text(task.hints.sun_path, block_text(block, head->hints_offset));
}

static bool open_cgroups(const struct block *block)
{
    const struct tm_launch *head = block->head;
    const char *v1[TM_MAX_CGROUPS_V1 + 1];
    const int how = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    task.cgroup_v2 = -1;
    if (head->cgroup_v2_offset) {
        task.cgroup_v2 = open(block_text(block, head->cgroup_v2_offset), how);
        if (task.cgroup_v2 < 0)
            return false;
    }
    block_list(block, head->cgroup_v1_offset, head->cgroup_v1_count, v1);
    for (uint32_t i = 0; i < head->cgroup_v1_count; i++) {
        int fd = open(v1[i], how);
        if (fd < 0)
            return false;
        task.cgroup_v1[task.cgroup_v1_count++] = fd;
    }
    return true;
}

/* The timeout counts the time a machine sleeps, which ppoll's own does not. */
static bool start_timer(void)
{
    struct itimerspec when = {0};
    if (!task.deadline_ns)
        return true;
    when.it_value.tv_sec = (time_t)(task.deadline_ns / NS_PER_S);
    when.it_value.tv_nsec = (long)(task.deadline_ns % NS_PER_S);
    task.timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    return task.timer >= 0 && timerfd_settime(task.timer, TFD_TIMER_ABSTIME, &when, NULL) == 0;
}

/* Fork the main process; false when it could not be, with `outcome` saying why. */
static bool start_main(const struct block *block)
{
    struct child_dirs dirs = {.attempt = task.dir, .cgroup_v2 = task.cgroup_v2, .cgroup_v1 = task.cgroup_v1,
                              .cgroup_v1_count = task.cgroup_v1_count};
    struct process child = {0};
    int ends[2];
    dirs.task = openat(task.dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirs.task < 0) {
        refuse_exit(TM_STAGE_OUTPUT, errno, 126);
        return false;
    }
    if (!start_timer() || pipe2(ends, O_CLOEXEC)) {
        refuse_exit(TM_STAGE_FORK, errno, 126);
        return false;
    }
    started.start_realtime_ns = now_ns(CLOCK_REALTIME);
    started.start_boottime_ns = now_ns(CLOCK_BOOTTIME);
    main_pid = fork_child(block, &dirs, ends[1]);
    if (main_pid < 0) {
        main_pid = 0;
        refuse_exit(TM_STAGE_FORK, errno, 126);
        return false;
    }
    failpoint(TM_FAIL_AFTER_FORK);
    main_alive = true;
    close(dirs.task);
    close(ends[1]);
    task.pipe = ends[0];
    fcntl(task.pipe, F_SETFL, O_NONBLOCK);
    read_process(main_pid, &child);
    started.start_ticks = child.start_ticks;
    return true;
}

static void shield_from_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, SHIM_OOM_SCORE, sizeof SHIM_OOM_SCORE - 1) < 0)
        errno = 0; /* needs CAP_SYS_RESOURCE: an ordinary user's shim stays as it is */
    close(fd);
}

#include "attach.h"

int main(int argc, char **argv)
{
    struct block block = {0};
    (void)argv; /* for `ps`: the attempt directory */
    if (argc != 2)
        return TM_SHIM_USAGE;
    prepare_signals();
    syscall(SYS_close_range, TM_LAUNCH_FD + 1, ~0u, 0); /* before Linux 5.9 we rely on the launcher's O_CLOEXEC */
    self = getpid();
    if (!block_read(&block, TM_LAUNCH_FD))
        return TM_SHIM_BAD_BLOCK;
    close(TM_LAUNCH_FD);
    arm_failpoint(block.head->flags);
    open_attempt(&block);

    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "taskmeter-shim", 0, 0, 0);
    setsid();
    if (chdir("/"))
        _exit(TM_SHIM_IO);
    umask(077);

    task.pipe = task.timer = task.target = -1;
    read_ctl();
    if (!cause && task.deadline_ns && now_ns(CLOCK_BOOTTIME) >= task.deadline_ns)
        cause = TM_CAUSE_TIMEOUT;
    if (block.head->flags & TM_LAUNCH_ATTACH) {
        watching = true;
        watch(&block);
        finish();
        return TM_SHIM_DONE;
    }
    bool running = false;
    if (cause)
        outcome.kind = TM_EXIT_NEVER_STARTED;
    else if (!open_cgroups(&block))
        refuse_exit(TM_STAGE_CGROUP, errno, 126);
    else
        running = start_main(&block);
    block_forget(&block);
    if (running) {
        shield_from_oom();
        supervise();
    } else {
        write_exit();
    }
    finish();
    return TM_SHIM_DONE;
}
