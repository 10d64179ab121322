/* The parent of one step, and of all its descendants that lose theirs: it tells PID 1 the step's end and reaps. */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay.h"

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

/* Makes the step's process, which waits until this one has no right left: else a step of root could kill it before. */
static pid_t make_step(const struct launch *launch, int talk[2]) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk) != 0) return -1;
    /* Not fork(), which takes locks that other threads of PID 1 may have held. */
    pid_t step = (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, 0, 0, 0, 0);
    if (step == 0) {
        char go;
        close(talk[0]);
        if (read(talk[1], &go, 1) != 1) _exit(127);
        struct failure failure = step_become(launch);
        _exit(write(talk[1], &failure, sizeof failure) < 0 ? 126 : 127);
    }
    int number = errno;
    close(talk[1]);
    errno = number;
    return step;
}

/* Lets it become the step; returns why it did not. The end of the connection means that it executes its program. */
static struct failure let_go(int talk) {
    struct failure failure = {.stage = STAGE_NONE};
    bool told = write(talk, "", 1) == 1 && read(talk, &failure, sizeof failure) == (ssize_t)sizeof failure;
    if (!told) failure.stage = STAGE_NONE;
    close(talk);
    return failure;
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
    int talk[2];
    pid_t step = make_step(launch, talk);
    struct failure failure = {.stage = STAGE_STEP, .number = errno};
    bool dropped = drop_privileges();
    for (int fd = 0; fd < LOW_DESCRIPTORS; fd++)
        if (fd != REPORT_FD) close(fd);
    if (!dropped) _exit(1); /* PID 1 ends the step: supervisor_lost */
    if (step > 0) failure = let_go(talk[0]);
    if (failure.stage != STAGE_NONE) {
        tell(launch->slot, REPORT_FAILED, failure.number, (enum stage)failure.stage);
        while (waitpid(-1, NULL, 0) > 0) continue;
        _exit(0);
    }
    tell(launch->slot, REPORT_STARTED, step, STAGE_NONE);
    reap(launch->slot, step);
    _exit(0);
}
