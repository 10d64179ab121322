/* One thread copies the outputs of all steps into their files, so that a disk that blocks stops nothing else.

   A splice into a file holds the lock of its pipe while the disk blocks, and no process that writes to that pipe, or has
   it open and ends, can be killed then. So the bytes go from the step's pipe, without a wait, into one of our own. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay.h"

enum { CHUNK = 1 << 16, EVENTS = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream *added; /* under the lock */
static int poll_fd;
static int wake_fd;
static int told_fd;
static int middle[2]; /* empty between two calls of copy() */

static void tell(int fd) {
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* it fails only if the reader has 2^64 - 2 of them to read */
}

static void end(struct stream *stream) {
    epoll_ctl(poll_fd, EPOLL_CTL_DEL, stream->source, NULL);
    close(stream->source);
    if (stream->target >= 0) close(stream->target);
    atomic_store(&stream->ended, true);
    tell(told_fd);
}

static void copy(struct stream *stream);

static void register_source(struct stream *stream) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    stream->registered = true;
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, stream->source, &event) == 0) return;
    atomic_store(&stream->error, (uint32_t)errno);
    end(stream);
}

/* A pipe holds at most 1 MiB, which is 16 splices or reads. */
static void finish(struct stream *stream) {
    for (int i = 0; i < 32 && !atomic_load(&stream->ended); i++) copy(stream);
    if (!atomic_load(&stream->ended)) end(stream);
}

static struct stream *take(void) {
    pthread_mutex_lock(&lock);
    struct stream *stream = added;
    if (stream != NULL) added = stream->next;
    pthread_mutex_unlock(&lock);
    return stream;
}

/* The last touch of a stream that has ended, unless it was asked for more meanwhile. */
static bool give_back(struct stream *stream) {
    pthread_mutex_lock(&lock);
    bool more = atomic_load(&stream->cut) && !atomic_load(&stream->ended);
    if (!more) stream->queued = false;
    pthread_mutex_unlock(&lock);
    return !more;
}

static void take_added(void) {
    uint64_t count;
    ssize_t got = read(wake_fd, &count, sizeof count);
    (void)got;
    for (struct stream *stream = take(); stream != NULL; stream = take()) {
        do {
            if (!stream->registered) register_source(stream);
            if (atomic_load(&stream->cut) && !atomic_load(&stream->ended)) finish(stream);
        } while (!give_back(stream));
        tell(told_fd);
    }
}

static void fail(struct stream *stream, int number) {
    atomic_store(&stream->error, (uint32_t)number);
}

/* Writes bytes that were read; those behind the first failed write are dropped. */
static void store(struct stream *stream, const char *bytes, size_t size) {
    while (size > 0 && atomic_load(&stream->error) == 0) {
        ssize_t written = pwrite(stream->target, bytes, size, (off_t)atomic_load(&stream->copied));
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
            atomic_fetch_add(&stream->copied, (uint64_t)written);
        } else if (written == 0 || errno != EINTR) {
            fail(stream, written == 0 ? EIO : errno);
        }
    }
    atomic_fetch_add(&stream->dropped, size);
}

static void copy_plainly(struct stream *stream) {
    static char buffer[CHUNK];
    ssize_t got = read(stream->source, buffer, sizeof buffer);
    if (got > 0) store(stream, buffer, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR)) end(stream); /* EIO: no process holds the terminal */
}

/* Takes bytes out of our pipe that cannot be spliced into the file. */
static void empty_middle(struct stream *stream, size_t size) {
    static char buffer[CHUNK];
    while (size > 0) {
        ssize_t got = read(middle[0], buffer, size < sizeof buffer ? size : sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fatal("its own pipe");
        store(stream, buffer, (size_t)got);
        size -= (size_t)got;
    }
}

static void store_middle(struct stream *stream, size_t size) {
    while (size > 0 && !stream->plain && atomic_load(&stream->error) == 0) {
        off_t offset = (off_t)atomic_load(&stream->copied);
        ssize_t moved = splice(middle[0], NULL, stream->target, &offset, size, 0);
        if (moved > 0) {
            atomic_fetch_add(&stream->copied, (uint64_t)moved);
            size -= (size_t)moved;
        } else if (moved < 0 && errno == EINVAL) {
            stream->plain = true;
        } else if (moved == 0 || errno != EINTR) {
            fail(stream, moved == 0 ? EIO : errno);
        }
    }
    empty_middle(stream, size);
}

static void copy(struct stream *stream) {
    if (stream->terminal || stream->plain || atomic_load(&stream->error) != 0) {
        copy_plainly(stream);
        return;
    }
    ssize_t moved = splice(stream->source, NULL, middle[1], NULL, 1 << 20, SPLICE_F_NONBLOCK);
    if (moved > 0) {
        store_middle(stream, (size_t)moved);
    } else if (moved == 0) {
        end(stream);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(stream, errno);
    }
}

static void *run(void *unused) {
    (void)unused;
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(poll_fd, events, EVENTS, -1);
        bool more = false; /* last, as it may give streams back that have an event here */
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) more = true;
            else copy(events[i].data.ptr);
        }
        if (more) take_added();
    }
    return NULL;
}

int copier_begin(void) {
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (pipe2(middle, O_CLOEXEC) < 0) fatal("a pipe");
    if (poll_fd < 0 || wake_fd < 0 || told_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, wake_fd, &event) < 0) fatal("epoll");
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL) != 0) fatal("the copier's thread");
    return told_fd;
}

static void enqueue(struct stream *stream) {
    pthread_mutex_lock(&lock);
    if (!stream->queued) {
        stream->queued = true;
        stream->next = added;
        added = stream;
    }
    pthread_mutex_unlock(&lock);
    tell(wake_fd);
}

void copier_add(struct stream *stream) { enqueue(stream); }

void copier_cut(struct stream *stream) {
    if (atomic_load(&stream->ended)) return;
    atomic_store(&stream->cut, true);
    enqueue(stream);
}

bool copier_is_done(struct stream *stream) {
    pthread_mutex_lock(&lock);
    bool done = !stream->queued && atomic_load(&stream->ended);
    pthread_mutex_unlock(&lock);
    return done;
}
