/* The verb `start`: checks what was sent, makes the streams, and spawns a supervisor. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay.h"

enum { SEALED = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW };

/* The words of a step, mapped while its supervisor is made. */
struct mapping {
    struct words words;
    uint8_t *data;
    size_t size;
    const char **pointers;
    size_t pointers_size;
};

static const struct failure fine = {.error = ERROR_OK};

static struct failure failure_of(enum error error, int number) {
    return (struct failure){.error = error, .number = number};
}

static bool is_sealed(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & SEALED) == SEALED;
}

static bool is_writable(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !(flags & (O_APPEND | O_PATH)) && (flags & O_ACCMODE) != O_RDONLY;
}

/* No system call here can wait for a disk: the descriptors of node files are only asked for their flags. */
static bool is_input(int fd) {
    int flags = fcntl(fd, F_GETFL);
    bool readable = flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY;
    return readable && (is_sealed(fd) || fcntl(fd, F_GETPIPE_SZ) > 0);
}

static bool are_right(const struct start_descriptors *at, const int *fds) {
    for (int i = 0; i < 2; i++)
        if (at->output[i] >= 0 && !is_writable(fds[at->output[i]])) return false;
    return is_sealed(fds[at->words]) && is_writable(fds[at->record]) && (at->input < 0 || is_input(fds[at->input])) &&
           (at->script < 0 || is_sealed(fds[at->script]));
}

static void unmap(struct mapping *mapping) {
    if (mapping->data != NULL) munmap(mapping->data, mapping->size);
    if (mapping->pointers != NULL) munmap(mapping->pointers, mapping->pointers_size);
}

static struct failure map(int fd, struct mapping *mapping) {
    struct stat about;
    *mapping = (struct mapping){.data = NULL};
    if (fstat(fd, &about) < 0 || about.st_size <= WORDS_HEADER || about.st_size > WORDS_BYTES_MAX)
        return failure_of(ERROR_BAD_DESCRIPTOR, EINVAL);
    mapping->size = (size_t)about.st_size;
    void *data = mmap(NULL, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return failure_of(ERROR_NO_RESOURCES, errno);
    mapping->data = data;
    if (!words_counts(mapping->data, mapping->size, &mapping->words)) return failure_of(ERROR_BAD_DESCRIPTOR, EINVAL);
    size_t count = (size_t)mapping->words.argument_count + mapping->words.variable_count + 2;
    mapping->pointers_size = count * sizeof *mapping->pointers;
    void *pointers = mmap(NULL, mapping->pointers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pointers == MAP_FAILED) return failure_of(ERROR_NO_RESOURCES, errno);
    mapping->pointers = pointers;
    if (!words_fill(mapping->data, mapping->size, &mapping->words, mapping->pointers))
        return failure_of(ERROR_BAD_DESCRIPTOR, EINVAL);
    return fine;
}

/* A pipe whose both ends belong to the step's user: else its `echo >/dev/stderr` were refused. */
static bool make_pipe(const struct start_request *start, struct stream *stream, int *writer) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    stream->source = ends[0];
    *writer = ends[1];
    return fchown(ends[1], start->uid, start->gid) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

static bool make_terminal(struct execution *execution, const struct start_request *start, int stdio[3]) {
    execution->terminal = pty_open(start->uid, start->gid, start->columns, start->rows, &stdio[0]);
    if (execution->terminal < 0) return false;
    stdio[1] = stdio[2] = stdio[0];
    struct stream *stream = &execution->streams[0];
    stream->terminal = true;
    if (!(start->flags & START_STDOUT)) return true; /* the client reads the terminal */
    stream->source = fcntl(execution->terminal, F_DUPFD_CLOEXEC, LOW_DESCRIPTORS);
    return stream->source >= 0;
}

static bool make_streams(struct execution *execution, const struct start_request *start, int input, int stdio[3]) {
    static const uint32_t flags[2] = {START_STDOUT, START_STDERR};
    for (int i = 0; i < 2; i++) execution->streams[i].source = execution->streams[i].target = -1;
    if (start->flags & START_TTY) return make_terminal(execution, start, stdio);
    if (input >= 0) {
        if (!is_sealed(input) && fchown(input, start->uid, start->gid) < 0) return false;
        stdio[0] = input;
    }
    for (int i = 0; i < 2; i++)
        if ((start->flags & flags[i]) && !make_pipe(start, &execution->streams[i], &stdio[i + 1])) return false;
    return true;
}

static void close_ours(const int stdio[3], int input) {
    for (int i = 0; i < 3; i++) {
        bool again = i > 0 && stdio[i] == stdio[i - 1];
        if (stdio[i] != null_fd && stdio[i] != input && !again) close(stdio[i]);
    }
}

static void take_back(struct execution *execution) {
    int number = errno;
    for (int i = 0; i < 2; i++)
        if (execution->streams[i].source >= 0) close(execution->streams[i].source);
    if (execution->terminal >= 0) close(execution->terminal);
    execution->used = false;
    errno = number;
}

/* From here on the copier and the writer own the node's files. */
static void hand_over(struct execution *execution, const struct start_descriptors *at, int *fds) {
    record_open(&execution->record, fds[at->record]);
    fds[at->record] = -1;
    for (int i = 0; i < 2; i++) {
        struct stream *stream = &execution->streams[i];
        if (at->output[i] < 0) continue;
        stream->used = true;
        stream->target = fds[at->output[i]];
        fds[at->output[i]] = -1;
        copier_add(stream);
    }
}

static struct failure begin(struct execution *execution, const struct request *request, const struct words *words,
                            const struct start_descriptors *at, int *fds) {
    int stdio[3] = {null_fd, null_fd, null_fd}, input = at->input < 0 ? -1 : fds[at->input];
    struct launch launch = {(uint32_t)(execution - live), &request->start, words};
    bool made = make_streams(execution, &request->start, input, stdio);
    if (made) execution->supervisor = spawn(&launch, stdio, at->script < 0 ? -1 : fds[at->script]);
    int number = errno;
    close_ours(stdio, input);
    if (made && execution->supervisor > 0) {
        hand_over(execution, at, fds);
        return fine;
    }
    take_back(execution);
    return failure_of(made && number == EAGAIN ? ERROR_PIDS_LIMIT : ERROR_NO_RESOURCES, number);
}

static bool is_reserved(const struct start_request *start) {
    for (uint32_t i = 0; i < start->group_count; i++)
        if (start->groups[i] == SUPERVISOR_ID || start->groups[i] == ID_INVALID) return true;
    return start->uid == SUPERVISOR_ID || start->gid == SUPERVISOR_ID || start->uid == ID_INVALID ||
           start->gid == ID_INVALID || start->gid == 0;
}

/* The answer follows when the supervisor reports, unless this returns a failure. */
struct failure start(const struct request *request, const struct reference *from, int *fds) {
    const struct start_request *asked = &request->start;
    const struct outcome *known = execution_past(&request->key);
    if (known != NULL) return failure_of(known->state == STATE_FORBIDDEN ? ERROR_FORBIDDEN : ERROR_EXISTS, 0);
    if (execution_find(&request->key) != NULL) return failure_of(ERROR_EXISTS, 0);
    if (is_reserved(asked)) return failure_of(ERROR_RESERVED_USER, 0);
    struct start_descriptors at = message_descriptors(asked->flags);
    if (!are_right(&at, fds)) return failure_of(ERROR_BAD_DESCRIPTOR, EBADF);
    struct mapping mapping;
    struct failure failure = map(fds[at.words], &mapping);
    struct execution *execution = failure.error == ERROR_OK ? execution_new(&request->key) : NULL;
    if (failure.error == ERROR_OK && execution == NULL) failure = failure_of(ERROR_TOO_MANY, 0);
    if (execution != NULL) {
        execution->gid = asked->gid;
        execution->deadline_ms = asked->deadline_ms;
        execution->deadline_grace_ms = asked->grace_ms;
        execution->starter = *from;
        execution->outcome.oom_before = oom_kills();
        if (asked->flags & START_WATCH) event_watch(execution, from->connection);
        failure = begin(execution, request, &mapping.words, &at, fds);
    }
    unmap(&mapping);
    return failure;
}
