/* Named places where a test can make the shim die, pause or leave; nothing unless the launch block's flags say so. */
#ifndef TASKMETER_SHIM_FAILPOINT_H
#define TASKMETER_SHIM_FAILPOINT_H

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "taskdir.h"

#define FAILPOINT_SLEEP_NS 50000000
#define FAILPOINT_STALL_S 10

static uint32_t armed_failpoint, armed_fault; /* 0 = none */

static void arm_failpoint(uint32_t flags)
{
    armed_fault = flags >> TM_LAUNCH_FAULT_SHIFT & 0xf;
    armed_failpoint = flags >> TM_LAUNCH_FAULT_SHIFT >> 4;
}

/* In the child, too: then it is the child that suffers. */
static void failpoint(enum tm_failpoint here)
{
    static const struct timespec pause = {.tv_nsec = FAILPOINT_SLEEP_NS}, stall = {.tv_sec = FAILPOINT_STALL_S};
    if (armed_failpoint != (uint32_t)here)
        return;
    if (armed_fault == TM_FAULT_CRASH)
        kill(getpid(), SIGKILL);
    else if (armed_fault == TM_FAULT_STOP)
        kill(getpid(), SIGSTOP);
    else if (armed_fault == TM_FAULT_SLEEP)
        nanosleep(&pause, NULL);
    else if (armed_fault == TM_FAULT_STALL)
        nanosleep(&stall, NULL);
    else
        _exit(TM_SHIM_IO);
}

#endif
