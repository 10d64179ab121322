/* The parent of one step, and of all its descendants that lose theirs: it tells PID 1 the step's end and reaps. */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay.h"

static volatile struct failure failed; /* written by the step's process, whose memory is ours until it executes */

static void tell(uint32_t slot, enum report_kind kind, int value, enum stage stage) {
    struct report report = {slot, kind, value, (int32_t)stage};
    while (write(REPORT_FD, &report, sizeof report) < 0 && errno == EINTR) continue;
}

/* From here on it has no right over anything, and no step has any over it. */
static bool drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    bool dropped = syscall(SYS_setgroups, (size_t)0, NULL) == 0 &&
                   syscall(SYS_setresgid, SUPERVISOR_ID, SUPERVISOR_ID, SUPERVISOR_ID) == 0 &&
                   syscall(SYS_setresuid, SUPERVISOR_ID, SUPERVISOR_ID, SUPERVISOR_ID) == 0 &&
                   syscall(SYS_capset, &header, none) == 0;
    return dropped && prctl(PR_SET_DUMPABLE, 0) == 0;
}

static pid_t make_step(const struct launch *launch) {
    pid_t step = vfork();
    if (step == 0) {
        struct failure failure = step_become(launch);
        failed.stage = failure.stage;
        failed.number = failure.number;
        _exit(127);
    }
    return step;
}

/* Ends once no descendant is left, which the kernel says by ECHILD. */
static void reap(uint32_t slot, pid_t step) {
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended == step) tell(slot, REPORT_EXITED, status, STAGE_NONE);
        if (ended < 0 && errno != EINTR) return;
    }
}

void supervisor_run(const struct launch *launch) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        tell(launch->slot, REPORT_FAILED, errno, STAGE_SUPERVISOR);
        _exit(1);
    }
    pid_t step = make_step(launch);
    int number = step < 0 ? errno : failed.number;
    enum stage stage = step < 0 ? STAGE_STEP : failed.stage;
    bool dropped = drop_privileges();
    for (int fd = 0; fd < LOW_DESCRIPTORS; fd++)
        if (fd != REPORT_FD) close(fd);
    if (!dropped) _exit(1); /* PID 1 ends the step: supervisor_lost */
    if (stage != STAGE_NONE) {
        tell(launch->slot, REPORT_FAILED, number, stage);
        while (waitpid(-1, NULL, 0) > 0) continue;
        _exit(0);
    }
    tell(launch->slot, REPORT_STARTED, step, STAGE_NONE);
    reap(launch->slot, step);
    _exit(0);
}
