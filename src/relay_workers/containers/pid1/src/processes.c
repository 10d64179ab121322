/* The processes of this container as /proc shows them, and to which execution each belongs. Reads without a fork. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay.h"

enum { PROCESSES_MAX = 32768, DEPTH_MAX = 32768 };

struct entry { /* linux_dirent64 */
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

static struct process table[PROCESSES_MAX];
static size_t table_size;

static const char *field(const char *text, const char *name) {
    const char *found = strstr(text, name);
    return found == NULL ? NULL : found + strlen(name);
}

static void read_name(const char *text, char name[NAME_SIZE]) {
    size_t length = strcspn(text, "\n");
    if (length >= NAME_SIZE) length = NAME_SIZE - 1;
    memset(name, 0, NAME_SIZE);
    memcpy(name, text, length);
}

/* The kernel escapes line ends in a name, so that a process can feign no field. False if it is gone. */
static bool read_status(pid_t pid, struct process *process) {
    char text[2048], path[32];
    snprintf(path, sizeof path, "%d/status", (int)pid);
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return false;
    text[size] = 0;
    const char *name = field(text, "Name:\t"), *state = field(text, "\nState:\t"), *parent = field(text, "\nPPid:\t");
    const char *gids = field(text, "\nGid:\t"), *threads = field(text, "\nThreads:\t");
    if (name == NULL || state == NULL || parent == NULL || gids == NULL) return false;
    process->pid = pid;
    process->parent = (pid_t)strtol(parent, NULL, 10);
    char *at = (char *)(uintptr_t)gids;
    for (int i = 0; i < 4; i++) process->gid[i] = (uint32_t)strtoul(at, &at, 10);
    /* A zombie is dead, unless it is a leader whose threads go on. */
    process->dead = *state == 'X' || (*state == 'Z' && threads != NULL && strtol(threads, NULL, 10) <= 1);
    process->owner = OWNER_UNSET;
    read_name(name, process->name);
    return true;
}

static void read_table(void) {
    static _Alignas(8) char buffer[32768];
    table_size = 0;
    lseek(proc_fd, 0, SEEK_SET);
    for (;;) {
        long size = syscall(SYS_getdents64, proc_fd, buffer, sizeof buffer);
        if (size <= 0) return;
        for (long at = 0; at < size;) {
            const struct entry *entry = (const void *)(buffer + at);
            at += entry->size;
            long pid = entry->name[0] >= '1' && entry->name[0] <= '9' ? strtol(entry->name, NULL, 10) : 0;
            if (pid <= 1 || table_size == PROCESSES_MAX) continue; /* the rest comes in a later look */
            if (read_status((pid_t)pid, &table[table_size])) table_size++;
        }
    }
}

static int by_pid(const void *left, const void *right) {
    pid_t a = ((const struct process *)left)->pid, b = ((const struct process *)right)->pid;
    return (a > b) - (a < b);
}

static struct process *lookup(pid_t pid) {
    struct process wanted = {.pid = pid};
    return bsearch(&wanted, table, table_size, sizeof wanted, by_pid);
}

static int32_t owner_of_child(pid_t pid) {
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && live[i].supervisor == pid) return (int32_t)i;
    return OWNER_STRAY;
}

/* Follows the parents up to a child of PID 1 or of the engine, and marks the way. */
static void find_owner(struct process *process) {
    int32_t owner = OWNER_UNKNOWN; /* also where a parent has ended during the look */
    struct process *at = process;
    for (int depth = 0; depth < DEPTH_MAX && at != NULL; depth++) {
        if (at->owner != OWNER_UNSET) owner = at->owner;
        else if (at->parent == 1) owner = owner_of_child(at->pid);
        else if (at->parent == 0) owner = OWNER_ENGINE;
        else {
            at = lookup(at->parent);
            continue;
        }
        break;
    }
    for (at = process; at != NULL && at->owner == OWNER_UNSET; at = lookup(at->parent)) at->owner = owner;
}

size_t processes_look(struct process **found) {
    read_table();
    for (size_t i = 0; i < table_size; i++) find_owner(&table[i]);
    *found = table;
    return table_size;
}

bool process_is_of(const struct process *process, const struct execution *execution) {
    if (process->pid == execution->supervisor) return false;
    if (process->owner == (int32_t)(execution - live)) return true;
    for (int i = 0; i < 4; i++)
        if (process->gid[i] == execution->gid) return true;
    return false;
}

/* Looks again right before the signal, as the pid may have become another process's since. */
bool process_signal(const struct process *process, int number) {
    struct process now;
    if (!read_status(process->pid, &now)) return false;
    bool same = now.parent == process->parent || memcmp(now.gid, process->gid, sizeof now.gid) == 0;
    return same && kill(process->pid, number) == 0;
}
