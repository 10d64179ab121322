/* relay-pid1 BOOTSTRAP_SOCKET: the first process of a workspace container. See docs/pid1-protocol.md.

   It installs no signal handler, so that the kernel drops every signal from its own pid namespace, KILL and STOP
   included. It is not dumpable, so that not even the container's root can trace it or open what /proc shows of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

enum { EVENTS = 64, HOUSEKEEPING_MS = 5000, NICENESS = -20 };

int null_fd = -1;
int proc_fd = -1;

static int poll_fd;
static int signal_fd;
static int report_fd;

void fatal(const char *what) {
    fprintf(stderr, "relay-pid1: cannot go on without %s: errno %d\n", what, errno);
    exit(1);
}

uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void control(int operation, int fd, uint32_t events, enum loop_kind kind, uint32_t index) {
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | index};
    epoll_ctl(poll_fd, operation, fd, &event);
}

void loop_add(int fd, uint32_t events, enum loop_kind kind, uint32_t index) {
    control(EPOLL_CTL_ADD, fd, events, kind, index);
}

void loop_change(int fd, uint32_t events, enum loop_kind kind, uint32_t index) {
    control(EPOLL_CTL_MOD, fd, events, kind, index);
}

void loop_remove(int fd) { epoll_ctl(poll_fd, EPOLL_CTL_DEL, fd, NULL); }

static void drain_counter(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) > 0) continue;
    execution_changed();
}

static void read_reports(void) {
    struct report reports[32];
    ssize_t size;
    while ((size = read(report_fd, reports, sizeof reports)) > 0)
        for (size_t i = 0; i < (size_t)size / sizeof *reports; i++) execution_report(&reports[i]);
}

static struct execution *supervised_by(pid_t pid) {
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && live[i].supervisor == pid) return &live[i];
    return NULL;
}

/* Reaps all that have ended, and continues supervisors that were stopped. */
static void reap(void) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (WIFSTOPPED(status)) {
            kill(pid, SIGCONT);
            continue;
        }
        read_reports(); /* what it said before it ended */
        struct execution *execution = supervised_by(pid);
        if (execution != NULL) execution_supervisor_gone(execution, WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else kill_strays_soon(); /* a child that an exec of the engine left: there may be more */
    }
}

static void on_signal(void) {
    struct signalfd_siginfo info[8];
    while (read(signal_fd, info, sizeof info) > 0) continue;
    reap();
}

/* Descriptors 0 to 63 are taken, so that none of ours lies where the descriptors of a step go. */
static void take_low_descriptors(void) {
    int ends[2];
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || pipe2(ends, O_CLOEXEC) < 0) fatal("/dev/null and a pipe");
    null_fd = fcntl(null_fd, F_DUPFD_CLOEXEC, LOW_DESCRIPTORS);
    report_fd = fcntl(ends[0], F_DUPFD_CLOEXEC, LOW_DESCRIPTORS);
    int writer = fcntl(ends[1], F_DUPFD_CLOEXEC, LOW_DESCRIPTORS);
    if (null_fd < 0 || report_fd < 0 || writer < 0) fatal("descriptors");
    for (int fd = 0; fd < LOW_DESCRIPTORS; fd++)
        if (dup3(fd == REPORT_FD ? writer : null_fd, fd, O_CLOEXEC) < 0) fatal("descriptors");
    close(writer);
    fcntl(report_fd, F_SETFL, O_NONBLOCK);
}

static void allow_many_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Before the first step, which could put other files in the place of those that are opened here. */
static void begin(void) {
    sigset_t children;
    if (getpid() != 1) fatal("pid 1");
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fatal("prctl");
    allow_many_descriptors();
    take_low_descriptors();
    proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (proc_fd < 0 || poll_fd < 0 || signal_fd < 0) fatal("/proc, epoll and signalfd");
    oom_begin();
    pty_begin();
    spawn_prepare();
}

static void handle(const struct epoll_event *event, const int fds[]) {
    uint32_t index = (uint32_t)event->data.u64;
    switch ((enum loop_kind)(event->data.u64 >> 32)) {
    case LOOP_SIGNAL: on_signal(); return;
    case LOOP_REPORT: read_reports(); return;
    case LOOP_STREAMS: drain_counter(fds[LOOP_STREAMS]); return;
    case LOOP_RECORDS: drain_counter(fds[LOOP_RECORDS]); return;
    case LOOP_LISTENER: channel_accept(fds[LOOP_LISTENER]); return;
    case LOOP_CONNECTION:
        if (event->events & EPOLLOUT) channel_write(index);
        if (event->events & ~(uint32_t)EPOLLOUT) channel_read(index);
        return;
    case LOOP_DIAL: dial_ready(index); return;
    }
}

static int patience(uint64_t now) {
    uint64_t next = now + HOUSEKEEPING_MS * UINT64_C(1000000), others[] = {kill_next(), dial_next(), execution_next()};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] < next) next = others[i];
    return next <= now ? 0 : (int)((next - now + 999999) / 1000000);
}

static void expire(uint64_t now) {
    execution_expire(now);
    dial_expire(now);
    channel_expire(now);
    kill_tick(now);
}

int main(int count, char **arguments) {
    struct epoll_event events[EVENTS];
    int fds[LOOP_DIAL + 1];
    if (count != 2) fatal("one argument, the path of the bootstrap socket");
    if (strcmp(arguments[1], "--version") == 0) {
        printf("relay-pid1, protocol %d\n", PROTOCOL_VERSION);
        return 0;
    }
    begin();
    fds[LOOP_SIGNAL] = signal_fd;
    fds[LOOP_REPORT] = report_fd;
    fds[LOOP_STREAMS] = copier_begin(); /* threads count against the pids limit, so they come before the first start */
    fds[LOOP_RECORDS] = record_begin();
    fds[LOOP_LISTENER] = bootstrap(arguments[1], reap);
    /* This thread and the supervisors: a thousand busy processes of a step would leave them no time to kill and reap. */
    setpriority(PRIO_PROCESS, 0, NICENESS);
    for (enum loop_kind kind = LOOP_SIGNAL; kind <= LOOP_LISTENER; kind++) loop_add(fds[kind], EPOLLIN, kind, 0);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, patience(now_ns()));
        for (int i = 0; i < ready; i++) handle(&events[i], fds);
        expire(now_ns());
        execution_settle();
    }
}
