/* From fork to exec: everything the command must find in place. Runs in the child; on failure it reports stage and errno. */
#ifndef TASKMETER_SHIM_CHILD_H
#define TASKMETER_SHIM_CHILD_H

#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "block.h"
#include "failpoint.h"

/* What travels through the pipe. {TM_STAGE_EXEC, 0} says "about to exec": without it, end of file means died before. */
struct report {
    int32_t stage;
    int32_t error;
};

struct child_dirs {
    int attempt, task;
    int cgroup_v2; /* -1: none, or clone3 has put us there already */
    const int *cgroup_v1;
    int cgroup_v1_count;
};

static int report_fd;

static void report(int stage, int error)
{
    struct report message = {stage, error};
    while (write(report_fd, &message, sizeof message) < 0 && errno == EINTR)
        ;
}

_Noreturn static void refuse(int stage, int error, int code)
{
    report(stage, error);
    _exit(code);
}

#define REFUSE_IF(failed, stage) \
    do \
        if (failed) \
            refuse(stage, errno, 126); \
    while (0)

static bool enter_cgroup(int dir)
{
    int fd = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "0", 1) == 1; /* 0 = the writer */
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return done;
}

static bool put_at(int fd, int target)
{
    if (fd == target) /* it was free: dup2 would leave O_CLOEXEC on */
        return fcntl(fd, F_SETFD, 0) == 0;
    return fd >= 0 && dup2(fd, target) == target;
}

/* By system call, because the C library would spare the two it keeps for itself, and posix_spawn sets those to ignored. */
static void reset_signals(void)
{
    static const uint64_t fresh[8]; /* struct kernel_sigaction, all zero: SIG_DFL on every architecture */
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, fresh, NULL, _NSIG / 8);
}

/* Try `directory`/name; returns only on failure, with errno. An empty directory is the working directory (POSIX). */
static void try_exec(const char *directory, size_t length, const char *name, char **argv, char **env)
{
    static char path[8192];
    size_t rest = strlen(name) + 1;
    if (length + 1 + rest > sizeof path) {
        errno = ENAMETOOLONG;
        return;
    }
    memcpy(path, directory, length);
    if (length)
        path[length++] = '/';
    memcpy(path + length, name, rest);
    execve(path, argv, env);
    if (errno == ENOENT && faccessat(AT_FDCWD, path, F_OK, 0) == 0)
        errno = ELIBACC; /* the file is there, so it is its interpreter that is missing */
    else if (length && errno == EACCES)
        errno = faccessat(AT_FDCWD, path, F_OK, 0) == 0 ? EACCES : ENOENT; /* a PATH that we may not search has nothing */
}

/* Replace this process like execvp, but by the child's own PATH and never through a shell. Returns errno. */
static int exec_command(char **argv, char **env)
{
    const char *name = argv[0], *search = "/bin:/usr/bin"; /* confstr(_CS_PATH) of glibc */
    int refused = 0;
    if (!*name)
        return ENOENT;
    if (strchr(name, '/')) {
        try_exec("", 0, name, argv, env);
        return errno;
    }
    for (char **each = env; *each; each++)
        if (!strncmp(*each, "PATH=", 5)) {
            search = *each + 5;
            break;
        }
    for (;;) {
        const char *end = strchrnul(search, ':');
        try_exec(search, (size_t)(end - search), name, argv, env);
        switch (errno) {
        case ENOENT: case ENOTDIR: case ESTALE: case ENODEV: case ETIMEDOUT: case ENAMETOOLONG: case ELOOP:
            break;
        case EACCES: /* remembered: a later directory may have one that we may run */
            refused = EACCES;
            break;
        default:
            return errno;
        }
        if (!*end)
            return refused ? refused : ENOENT;
        search = end + 1;
    }
}

_Noreturn static void run_child(const struct block *block, const struct child_dirs *dirs, int pipe_fd)
{
    const struct tm_launch *head = block->head;
    report_fd = pipe_fd;
    setsid(); /* `kill 0` in the task must not reach the shim */
    REFUSE_IF(dirs->cgroup_v2 >= 0 && !enter_cgroup(dirs->cgroup_v2), TM_STAGE_CGROUP);
    for (int i = 0; i < dirs->cgroup_v1_count; i++)
        REFUSE_IF(!enter_cgroup(dirs->cgroup_v1[i]), TM_STAGE_CGROUP);

    const char *input = head->stdin_offset ? block_text(block, head->stdin_offset) : "/dev/null";
    REFUSE_IF(!put_at(open(input, O_RDONLY | O_CLOEXEC | O_NOCTTY), 0), TM_STAGE_STDIN);

    for (uint32_t i = 0; i < head->rlimit_count; i++) {
        const struct tm_rlimit *limit = &head->rlimits[i];
        struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
        REFUSE_IF(setrlimit((int)limit->resource, &value), TM_STAGE_RLIMIT);
    }
    if (head->flags & TM_LAUNCH_HAS_NICE)
        REFUSE_IF(setpriority(PRIO_PROCESS, 0, head->nice), TM_STAGE_RLIMIT);

    if (head->flags & TM_LAUNCH_SET_IDS) {
        const gid_t *groups = head->group_count ? head->groups : &head->gid;
        size_t count = head->group_count ? head->group_count : 1;
        REFUSE_IF(setgroups(count, groups) || setgid(head->gid) || setuid(head->uid), TM_STAGE_IDS);
    }
    if (head->flags & TM_LAUNCH_NO_NEW_PRIVS)
        REFUSE_IF(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), TM_STAGE_IDS);

    /* From here on as the task's user: a link planted in task/ opens nothing that this user could not open anyway. */
    const int how = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY;
    REFUSE_IF(!put_at(openat(dirs->task, "stdout", how, 0600), 1), TM_STAGE_OUTPUT);
    if (head->flags & TM_LAUNCH_MERGE_STDERR)
        REFUSE_IF(dup2(1, 2) != 2, TM_STAGE_OUTPUT);
    else
        REFUSE_IF(!put_at(openat(dirs->task, "stderr", how, 0600), 2), TM_STAGE_OUTPUT);
    if (head->cwd_offset)
        REFUSE_IF(chdir(block_text(block, head->cwd_offset)), TM_STAGE_CWD);
    else
        REFUSE_IF(fchdir(dirs->task) || chdir("work"), TM_STAGE_CWD);
    umask(head->umask);

    size_t pointers = (size_t)head->argc + head->envc + 2;
    const char **argv = mmap(NULL, pointers * sizeof *argv, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REFUSE_IF(argv == MAP_FAILED, TM_STAGE_EXEC);
    const char **env = argv + head->argc + 1;
    block_list(block, head->argv_offset, head->argc, argv);
    block_list(block, head->env_offset, head->envc, env);

    /* Every other descriptor of ours is O_CLOEXEC and main() has closed the rest. */
    report(TM_STAGE_EXEC, 0);
    reset_signals();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    failpoint(TM_FAIL_BEFORE_EXEC);
    int error = exec_command((char **)(uintptr_t)argv, (char **)(uintptr_t)env);
    refuse(TM_STAGE_EXEC, error, error == ENOENT || error == ENOTDIR ? 127 : 126);
}

/* fork, into the v2 cgroup where the kernel can (clone3, 5.7), so that not one instruction runs outside it. */
static pid_t fork_child(const struct block *block, struct child_dirs *dirs, int pipe_fd)
{
    pid_t pid = -1;
    if (dirs->cgroup_v2 >= 0) {
        struct clone_args how = {
            .flags = CLONE_INTO_CGROUP,
            .exit_signal = SIGCHLD,
            .cgroup = (uint64_t)dirs->cgroup_v2,
        };
        pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
        if (pid >= 0)
            dirs->cgroup_v2 = -1;
    }
    if (pid < 0) /* no cgroup, or an old kernel, or seccomp, or refused: then the child's own attempt names the error */
        pid = fork();
    if (pid == 0)
        run_child(block, dirs, pipe_fd);
    return pid;
}

#endif
