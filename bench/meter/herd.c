/* The processes that are metered, tiny and asleep: `herd COUNT THREADS CHILDREN`.
 *
 * Starts COUNT processes with THREADS threads each, and below each so many CHILDREN; prints the pids of the COUNT on one line,
 * fewer when no more may be started. Then obeys lines "FIRST COUNT" on stdin: wakes those processes once, waits until each has
 * run, and prints how many did. Ends with its stdin, and all of its processes with it, however it ends.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES 16384
#define SPINS_PER_SLEEP 1000
#define SLEEP_NS 50000

static _Atomic long *ran; /* shared by all: how often any of them was ready or woke */

static void wait_for_ran(long wanted)
{
    for (int spins = 0; atomic_load(ran) < wanted; spins++)
        if (spins % SPINS_PER_SLEEP == 0)
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
}

static void *sleep_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static int start_threads(int count)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (int n = 0; n < count; n++)
        if (pthread_create(&thread, &attributes, sleep_for_ever, NULL) != 0)
            return -1;
    return 0;
}

/* Fork one; its signals are blocked already, so none is lost. It dies with its parent (prctl(2): with that thread of it, and
 * nobody here forks from another than the first). */
static pid_t start_member(int threads, int children, const sigset_t *wake)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    int signal_;
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, "herd-member");
    for (int n = 0; n < children; n++)
        if (start_member(threads, 0, wake) < 0)
            _exit(1);
    if (start_threads(threads - 1) != 0)
        _exit(1);
    for (;;) {
        atomic_fetch_add(ran, 1);
        sigwait(wake, &signal_);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int count = atoi(argv[1]), threads = atoi(argv[2]), children = atoi(argv[3]);
    pid_t *pids = calloc((size_t)count + 1, sizeof *pids);
    sigset_t wake;
    int started = 0, first, wanted;
    long before;

    ran = mmap(NULL, sizeof *ran, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pids == NULL || ran == MAP_FAILED)
        return 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what the sampler expects of the root of a tree */
    sigemptyset(&wake);
    sigaddset(&wake, SIGUSR1);
    sigprocmask(SIG_BLOCK, &wake, NULL);
    while (started < count && (pids[started] = start_member(threads, children, &wake)) > 0)
        started++;
    for (;;) { /* until all are ready; one that could not start what it should is not counted on */
        int status;
        pid_t dead = waitpid(-1, &status, WNOHANG);
        if (dead > 0) {
            fprintf(stderr, "herd: %d could not start its threads or children\n", (int)dead);
            return 1;
        }
        if (atomic_load(ran) >= (long)started * (1 + children))
            break;
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    }
    for (int n = 0; n < started; n++)
        printf("%d ", (int)pids[n]);
    printf("\n");
    fflush(stdout);

    while (scanf("%d %d", &first, &wanted) == 2) {
        int woken = 0;
        before = atomic_load(ran);
        for (int n = first; n < first + wanted && n < started; n++)
            if (kill(pids[n], SIGUSR1) == 0)
                woken++;
        wait_for_ran(before + woken);
        printf("%d\n", woken);
        fflush(stdout);
    }
    for (int n = 0; n < started; n++)
        kill(pids[n], SIGKILL); /* not reaped yet, so each is still itself */
    while (wait(NULL) > 0)
        ;
    return 0;
}
