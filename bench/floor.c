/* The least that a launch can cost: posix_spawn, wait, nothing written down. `floor COUNT IN_FLIGHT [shim]`.
 *
 * With "shim", what is spawned is this program again, which forks and execs the command and waits for it: the least that a parent
 * can do that outlives us. Prints launches per second and the processor microseconds of this process for each.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *const ENVIRONMENT[] = {"PATH=/bin", NULL};
static char *const COMMAND[] = {"/bin/true", NULL};

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int supervise(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        execve(COMMAND[0], COMMAND, ENVIRONMENT);
        _exit(127);
    }
    return child < 0 || waitpid(child, &status, 0) != child || status;
}

int main(int count, char **arguments)
{
    if (count == 2 && !strcmp(arguments[1], "supervise"))
        return supervise();
    if (count < 3)
        return 2;
    int launches = atoi(arguments[1]), in_flight = atoi(arguments[2]), begun = 0, under_way = 0;
    char *const shim[] = {arguments[0], "supervise", NULL};
    char *const *command = count > 3 ? shim : COMMAND;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (begun < launches || under_way) {
        int status;
        pid_t child;
        while (begun < launches && under_way < in_flight) {
            if (posix_spawn(&child, command[0], NULL, NULL, command, ENVIRONMENT))
                return 1;
            begun++, under_way++;
        }
        if (wait(&status) < 0 || status)
            return 1;
        under_way--;
    }
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.9f %.9f\n", wall, cpu);
    return 0;
}
