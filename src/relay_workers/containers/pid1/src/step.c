/* Turns a process of PID 1 into a step: session, user, capabilities, directory, program. */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "relay.h"

enum { NICENESS = 5 };

/* Raw system calls: the functions of a C library would change all threads, of which this process has none. */
static long become_user(const struct start_request *request) {
    long failed = syscall(SYS_setgroups, (size_t)request->group_count, request->groups);
    if (failed == 0) failed = syscall(SYS_setresgid, request->gid, request->gid, request->gid);
    if (failed == 0) failed = syscall(SYS_setresuid, request->uid, request->uid, request->uid);
    prctl(PR_SET_DUMPABLE, 0); /* a change of user may have set it, and this memory is a copy of PID 1's */
    return failed;
}

/* CAP_KILL and CAP_SYS_NICE go in any case. With no_new_privs an exec by root regains no capability that its caller does not have. */
static long limit_capabilities(const struct start_request *request) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct sets[2];
    memset(sets, 0, sizeof sets);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (request->uid == 0 && (request->flags & START_ROOT_CAPABILITIES)) {
        if (syscall(SYS_capget, &header, sets) < 0) return -1;
        sets[0].permitted &= ~(1u << CAP_KILL | 1u << CAP_SYS_NICE);
        for (int i = 0; i < 2; i++) {
            sets[i].effective = sets[i].permitted;
            sets[i].inheritable = 0;
        }
    }
    return syscall(SYS_capset, &header, sets);
}

static const char *search_path(const struct words *words) {
    for (uint32_t i = 0; i < words->variable_count; i++)
        if (strncmp(words->variables[i], "PATH=", 5) == 0) return words->variables[i] + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Executes argv[0]; returns errno. As in a shell, a program that may not be executed counts more than one not found. */
static int execute(const struct words *words) {
    char *const *arguments = (char *const *)(const void *)words->arguments;
    char *const *variables = (char *const *)(const void *)words->variables;
    const char *name = words->arguments[0];
    if (strchr(name, '/') != NULL) {
        execve(name, arguments, variables);
        return errno;
    }
    int refused = ENOENT;
    for (const char *folder = search_path(words); *name != 0; folder++) {
        size_t length = strcspn(folder, ":");
        char path[PATH_MAX];
        int size = snprintf(path, sizeof path, "%.*s/%s", length > PATH_MAX ? 0 : (int)length, folder, name);
        if (length > 0 && size > 0 && (size_t)size < sizeof path) {
            execve(path, arguments, variables);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return errno;
            if (errno == EACCES) refused = EACCES;
        }
        folder += length;
        if (*folder == 0) break;
    }
    return refused;
}

static void unblock_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

struct failure step_become(const struct launch *launch) {
    const struct start_request *request = launch->request;
    struct failure failure = {.error = ERROR_START_FAILED};
    bool session = setsid() >= 0 && (!(request->flags & START_TTY) || ioctl(STDIN_FILENO, TIOCSCTTY, 0) == 0);
    if (!session) {
        failure.stage = STAGE_SESSION;
    } else if (setpriority(PRIO_PROCESS, 0, NICENESS), become_user(request) != 0) {
        failure.stage = STAGE_USER;
    } else if (limit_capabilities(request) != 0) {
        failure.stage = STAGE_CAPABILITIES;
    } else if (umask(022), chdir(launch->words->directory) != 0) {
        failure.stage = STAGE_DIRECTORY;
    } else {
        unblock_signals();
        failure.stage = STAGE_PROGRAM;
        errno = execute(launch->words);
    }
    failure.number = errno;
    return failure;
}
