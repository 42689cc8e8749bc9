/* The on-disk protocol of one attempt's directory: the single source of its binary layouts.
 *
 * An attempt directory belongs to the daemon's user and holds
 *
 *     spec    the daemon's serialized TaskSpec                     written by the daemon at accept
 *     lock    POSIX record lock, held by the shim for life         F_GETLK names the shim's pid
 *     claim   struct tm_claim, created O_EXCL                      the winner owns this attempt, for ever
 *     ctl     struct tm_ctl, preallocated                          daemon -> shim, then SIGRTMIN to the shim
 *     pid     struct tm_pid, preallocated                          shim, after exec succeeded, or the target was found
 *     exit    struct tm_exit, preallocated                         shim, when the main process has ended
 *     gone    struct tm_gone[2], preallocated                      shim, rusage while it runs, final after ECHILD
 *     meter   two CRC slots, see metercore/_c/meter.h              sampler
 *     task/   the only part that the task may write: work/ report stdout stderr
 *
 * Rules shared by all records: little endian as on every machine Linux runs this on; `crc` is the last member, CRC-32
 * (IEEE 802.3, the one of zlib) of all bytes before it; a record with a wrong magic, version or CRC does not exist.
 * Times: `_realtime_ns` is CLOCK_REALTIME, `_boottime_ns` is CLOCK_BOOTTIME. A process is (pid, start_ticks), where
 * start_ticks is field 22 of /proc/PID/stat.
 *
 * Python reads the same records in taskmeter/executors/taskdir.py; tests/native/test_taskdir_layout.py compiles this
 * header and compares every offset.
 */
#ifndef TASKMETER_TASKDIR_H
#define TASKMETER_TASKDIR_H

#include <stddef.h>
#include <stdint.h>

#define TM_VERSION 1u
#define TM_PAGE 4096u

/* "TMLAUNCH" and so on, read as bytes in memory order. */
#define TM_MAGIC_LAUNCH 0x48434e55414c4d54ull
#define TM_MAGIC_CLAIM 0x204d49414c434d54ull /* "TMCLAIM " */
#define TM_MAGIC_CTL 0x20204c5443204d54ull   /* "TM CTL  " */
#define TM_MAGIC_PID 0x2020444950204d54ull   /* "TM PID  " */
#define TM_MAGIC_EXIT 0x2054495845204d54ull  /* "TM EXIT " */
#define TM_MAGIC_GONE 0x20454e4f47204d54ull  /* "TM GONE " */

/* Why a tree was asked to end. The exit record carries the first cause that was acted on. */
enum tm_cause {
    TM_CAUSE_NONE = 0,
    TM_CAUSE_CANCEL = 1,    /* Terminate */
    TM_CAUSE_TIMEOUT = 2,   /* timeout_seconds, decided by the shim itself */
    TM_CAUSE_INTERRUPT = 3, /* drain */
    TM_CAUSE_IDLE = 4,      /* idle_ttl_seconds */
};

/* ---- launch block: memfd on the shim's fd 3; the shim reads nothing else -------------------------------------- */

#define TM_LAUNCH_FD 3
#define TM_MAX_RLIMITS 16
#define TM_MAX_CGROUPS_V1 4
#define TM_MAX_GROUPS 64
#define TM_MAX_LAUNCH_BYTES (8u << 20) /* above the kernel's own limit for argv and env, 6 MiB */

enum tm_launch_flags {
    TM_LAUNCH_SET_IDS = 1u << 0,          /* setgroups/setgid/setuid to groups, gid, uid before exec */
    TM_LAUNCH_NO_NEW_PRIVS = 1u << 1,
    TM_LAUNCH_MERGE_STDERR = 1u << 2,     /* stderr goes to the stdout file */
    TM_LAUNCH_HAS_NICE = 1u << 3,
    TM_LAUNCH_ATTACH = 1u << 4,           /* run nothing: watch attach_pid, which is nobody's child here */
    TM_LAUNCH_DESCENDANTS = 1u << 5,      /* with ATTACH: a stop is meant for what descends from it, too */
};

struct tm_rlimit {
    uint32_t resource; /* RLIMIT_* */
    uint32_t reserved;
    uint64_t soft, hard;
};

/* Offsets are from the start of the block; 0 means absent. Strings end with NUL; lists are count strings in a row. */
struct tm_launch {
    uint64_t magic;
    uint32_t version;
    uint32_t total_bytes;
    uint64_t incarnation;        /* echoed in claim, pid, exit, gone */
    char boot_id[40];            /* /proc/sys/kernel/random/boot_id, NUL padded */
    uint32_t argc, argv_offset;  /* none with TM_LAUNCH_ATTACH */
    uint32_t envc, env_offset;   /* NAME=value; PATH in it resolves argv[0] */
    uint32_t attempt_dir_offset; /* absolute path of the attempt directory */
    uint32_t token_offset;
    uint32_t attempt;
    uint32_t cwd_offset;         /* absolute path; absent = task/work */
    uint32_t stdin_offset;       /* absolute path; absent = /dev/null */
    uint32_t hints_offset;       /* path of the datagram socket, <= 107 bytes; absent = no hints */
    uint32_t cgroup_v2_offset;   /* directory of the task's v2 cgroup, made by the daemon; absent = none */
    uint32_t cgroup_v1_count, cgroup_v1_offset; /* directories of v1 cgroups the child writes itself into */
    uint32_t flags;
    uint32_t umask;
    uint32_t uid, gid;
    int32_t nice;
    uint32_t rlimit_count;
    int32_t attach_pid;            /* with TM_LAUNCH_ATTACH; 0 = it is known to have ended */
    uint64_t grace_ns;             /* default grace, when ctl names none */
    uint64_t deadline_boottime_ns; /* 0 = none; wall-clock timeout of the attempt */
    uint64_t attach_start_ticks;   /* with attach_pid, who is meant */
    struct tm_rlimit rlimits[TM_MAX_RLIMITS];
    uint32_t group_count; /* with TM_LAUNCH_SET_IDS; 0 = gid alone */
    uint32_t groups[TM_MAX_GROUPS + 1]; /* the last one is padding */
};

/* For tests, in the flags above TM_LAUNCH_FAULT_SHIFT: failpoint << 4 | fault. taskmeter/failpoints.py has the same names. */
#define TM_LAUNCH_FAULT_SHIFT 20

enum tm_fault {
    TM_FAULT_CRASH = 1, /* SIGKILL to itself */
    TM_FAULT_SLEEP = 2,
    TM_FAULT_ERROR = 3, /* exit with TM_SHIM_IO */
    TM_FAULT_STOP = 5,  /* SIGSTOP to itself; 4 is the daemon's alone */
    TM_FAULT_STALL = 6, /* a sleep that is long enough to be killed in */
};

enum tm_failpoint {
    TM_FAIL_AFTER_LOCK = 1,
    TM_FAIL_AFTER_CLAIM,
    TM_FAIL_AFTER_FORK,
    TM_FAIL_BEFORE_EXEC, /* in the child */
    TM_FAIL_BEFORE_EXIT_WRITE,
    TM_FAIL_MID_EXIT_WRITE, /* the record is there up to the exit code */
    TM_FAIL_AFTER_EXIT_WRITE,
    TM_FAIL_AFTER_TERM,
    TM_FAIL_BEFORE_KILL,
};

/* The shim's own exit status, for whoever reaps it; the records are the truth. */
enum tm_shim_status {
    TM_SHIM_DONE = 0,
    TM_SHIM_USAGE = 64,     /* not exactly one argument */
    TM_SHIM_BAD_BLOCK = 65, /* the launch block is malformed; nothing was touched */
    TM_SHIM_IO = 74,        /* the attempt directory is not usable; nothing was claimed */
    TM_SHIM_CLAIMED = 75,   /* another shim, or the daemon, has won this attempt; nothing was touched */
};

/* ---- claim ---------------------------------------------------------------------------------------------------- */

struct tm_claim {
    uint64_t magic;
    uint32_t version;
    int32_t shim_pid; /* 0 = won by the daemon: this attempt never starts */
    uint64_t incarnation;
    uint64_t shim_start_ticks;
    char boot_id[40];
    uint32_t reserved;
    uint32_t crc;
};

/* ---- ctl: one page, rewritten in place by the daemon ------------------------------------------------------------ */

struct tm_ctl {
    uint64_t magic;
    uint32_t version;
    uint32_t serial;   /* grows with each order; the shim acts on a serial once */
    uint32_t cause;    /* enum tm_cause */
    uint32_t reserved;
    uint64_t grace_ns; /* counted from the first TERM; 0 = kill at once; a later order may only shorten the deadline */
    uint32_t reserved2;
    uint32_t crc;
};

/* ---- pid: the main process, written after its exec succeeded; of a process that is attached, as it was found -------- */

enum tm_pid_flags {
    TM_PID_ATTACHED = 1u << 0,    /* it ran before and is not the shim's child; its start times are its own */
    TM_PID_DESCENDANTS = 1u << 1, /* with ATTACHED: what descends from it belongs to the task */
};

struct tm_pid {
    uint64_t magic;
    uint32_t version;
    int32_t pid;
    uint64_t incarnation;
    uint64_t start_ticks;
    uint64_t start_realtime_ns;
    uint64_t start_boottime_ns;
    uint32_t flags; /* enum tm_pid_flags */
    uint32_t crc;
};

/* ---- exit: one page, written in place and fdatasync'ed when the main process has ended --------------------------- */

enum tm_exit_kind {
    TM_EXIT_EXITED = 1,   /* code */
    TM_EXIT_SIGNALED = 2, /* signal, core */
    TM_EXIT_EXEC_FAILED = 3, /* the command never ran: error, stage */
    TM_EXIT_NEVER_STARTED = 4, /* stopped before the command was run: cause; start times are 0 */
    TM_EXIT_UNKNOWN = 5,  /* an attached process ended, and how could not be read */
    TM_EXIT_DETACHED = 6, /* an attached process runs on, and nobody watches it any more */
};

/* Which step before exec failed; taskmeter/executors/outcome.py has the sentence for each. */
enum tm_stage {
    TM_STAGE_NONE = 0,
    TM_STAGE_CGROUP = 1,
    TM_STAGE_STDIN = 2,
    TM_STAGE_OUTPUT = 3,
    TM_STAGE_RLIMIT = 4,
    TM_STAGE_IDS = 5,
    TM_STAGE_CWD = 6,
    TM_STAGE_EXEC = 7,
    TM_STAGE_FORK = 8,
    TM_STAGE_LAUNCH_BLOCK = 9,
    TM_STAGE_ATTACH = 10, /* the process to watch is not there, or is another by now */
};

#define TM_SUBJECT_BYTES 256

struct tm_exit {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;     /* enum tm_exit_kind */
    uint64_t incarnation;
    int32_t code;      /* exit code, or 127/126 for EXEC_FAILED */
    int32_t signal;
    int32_t core;      /* 1 = core dumped */
    int32_t error;     /* errno of EXEC_FAILED */
    uint32_t stage;    /* enum tm_stage */
    uint32_t cause;    /* enum tm_cause that was acted on before the main process ended */
    uint32_t forced;   /* 1 = we sent SIGKILL before the main process ended */
    int32_t pid;
    uint64_t start_realtime_ns, end_realtime_ns; /* start: of the main process, or when it was attached */
    uint64_t start_boottime_ns, end_boottime_ns;
    uint64_t user_ns, system_ns; /* wait4 rusage of the main process, its waited-for children included; attached: 0 */
    uint64_t max_rss_bytes;
    char subject[TM_SUBJECT_BYTES]; /* EXEC_FAILED: the command or directory it is about, cut, NUL padded */
    uint32_t oom_kill_count; /* processes of the cgroup that the kernel had killed for want of memory by the end of main */
    uint32_t crc;
};

/* ---- gone: two slots at offsets 0 and 2048, written alternately; the valid slot with the higher serial counts ---- */

#define TM_GONE_SLOT_BYTES 2048u
#define TM_GONE_MAX_UNKILLABLE 64

struct tm_gone {
    uint64_t magic;
    uint32_t version;
    uint32_t serial;
    uint64_t incarnation;
    uint32_t final;            /* 1 = wait4 said ECHILD: the tree is empty */
    uint32_t reaped_count;     /* processes this shim has reaped */
    uint64_t reaped_user_ns;   /* sum of their wait4 rusage: what they and their waited-for children used; attached:
                                  what the process itself has used, user and system, since it was attached */
    uint64_t reaped_system_ns;
    uint64_t reaped_max_rss_bytes; /* the largest single one */
    uint64_t reaped_minor_faults, reaped_major_faults;
    uint64_t reaped_voluntary_switches, reaped_involuntary_switches;
    uint64_t end_realtime_ns;  /* 0 until final */
    uint64_t end_boottime_ns;
    uint64_t cgroup_cpu_ns;    /* v2 cpu.stat or v1 cpuacct.usage after ECHILD; 0 = not readable */
    uint64_t cgroup_user_ns, cgroup_system_ns;
    uint64_t cgroup_peak_memory_bytes; /* memory.peak or v1 max_usage; counts page cache; 0 = not readable */
    uint64_t read_bytes, write_bytes;  /* /proc/self/io of the shim: everything it reaped; ~0 = not readable */
    uint32_t killed_count;     /* processes we sent SIGKILL (cgroup.kill counts as 1) */
    uint32_t unkillable_count; /* alive longer than 1 s after SIGKILL */
    int32_t unkillable_pids[TM_GONE_MAX_UNKILLABLE];
    uint32_t reserved;
    uint32_t crc;
};

/* ---- hints: datagrams to hints_offset, lossy; the files above are the truth -------------------------------------- */

enum tm_hint_kind {
    TM_HINT_STARTED = 1, /* pid is there */
    TM_HINT_EXIT = 2,    /* exit is there, or gone has news of processes that do not die */
    TM_HINT_GONE = 3,    /* gone is final */
};

struct tm_hint {
    uint32_t kind;
    uint32_t attempt;
    char token[32]; /* NUL padded */
};

_Static_assert(sizeof(struct tm_launch) == 8 + 8 + 8 + 40 + 19 * 4 + 4 + 3 * 8 + TM_MAX_RLIMITS * 24 + 4 * (TM_MAX_GROUPS + 2), "tm_launch");
_Static_assert(sizeof(struct tm_claim) == 80, "tm_claim");
_Static_assert(sizeof(struct tm_ctl) == 40, "tm_ctl");
_Static_assert(sizeof(struct tm_pid) == 56, "tm_pid");
_Static_assert(sizeof(struct tm_exit) == 120 + TM_SUBJECT_BYTES, "tm_exit");
_Static_assert(sizeof(struct tm_gone) <= TM_GONE_SLOT_BYTES, "tm_gone");
_Static_assert(sizeof(struct tm_hint) == 40, "tm_hint");

#endif
