/* Makes supervisors. Their processes never have the node's files: not even closing one could wait for a disk then. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define UNSHARE 2u /* CLOSE_RANGE_UNSHARE: copy the descriptors below the range, and leave the table to the others */

static atomic_uint *apart; /* in memory shared with the child: 1 once it has descriptors of its own */
static bool has_close_range;
static bool shares; /* the child begins with our descriptors, not with a copy of them */

void spawn_prepare(void) {
    apart = mmap(NULL, sizeof *apart, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (apart == MAP_FAILED) fatal("shared memory");
    shares = has_close_range = syscall(SYS_close_range, ~0u, ~0u, 0u) == 0; /* Linux 5.9 */
}

static void close_others(void) {
    if (has_close_range) {
        if (syscall(SYS_close_range, (unsigned)LOW_DESCRIPTORS, ~0u, shares ? UNSHARE : 0u) != 0) _exit(1);
        atomic_store(apart, 1);
        syscall(SYS_futex, apart, FUTEX_WAKE, 1, NULL, NULL, 0);
        return;
    }
    struct rlimit limit;
    int end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (1 << 20) ? (int)limit.rlim_cur : 1 << 20;
    for (int fd = LOW_DESCRIPTORS; fd < end; fd++) close(fd);
}

/* Waits until the child no longer uses our descriptors, or is dead. */
static void wait_apart(pid_t child) {
    const struct timespec look = {.tv_nsec = 10000000};
    while (atomic_load(apart) == 0) {
        syscall(SYS_futex, apart, FUTEX_WAIT, 0, &look, NULL, 0);
        siginfo_t info = {.si_pid = 0};
        if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0) return;
        kill(child, SIGCONT);
    }
}

static bool place(const int stdio[3], int script) {
    for (int i = 0; i < 3; i++)
        if (dup2(stdio[i], i) < 0) return false;
    return script < 0 || dup2(script, SCRIPT_FD) >= 0;
}

static void clear(void) {
    int number = errno;
    for (int i = 0; i < 3; i++) dup3(null_fd, i, O_CLOEXEC);
    dup3(null_fd, SCRIPT_FD, O_CLOEXEC);
    errno = number;
}

/* Linux takes CLONE_FILES; qemu-user answers EINVAL. The child then begins with a copy of all descriptors, and closes
   those of the node before it does anything else, as before Linux 5.9: a step gets none of them either way. The copy
   costs one thing: a disk of the node that hangs can hold the child while it closes a file, and so its start and kill. */
static pid_t make_child(void) {
    pid_t child = (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD | (shares ? CLONE_FILES : 0), 0, 0, 0, 0);
    if (child >= 0 || !shares || errno != EINVAL) return child;
    shares = false;
    return (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, 0, 0, 0, 0);
}

pid_t spawn(const struct launch *launch, const int stdio[3], int script) {
    if (!place(stdio, script)) {
        clear();
        return -1;
    }
    atomic_store(apart, 0);
    pid_t child = make_child();
    if (child == 0) {
        close_others();
        supervisor_run(launch);
    }
    if (child > 0 && shares) wait_apart(child);
    clear();
    return child;
}
