/* One thread writes the records, so that a disk that blocks stops no start, end or kill. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

enum { WANT_STARTED = 1, WANT_ENDED = 2, WANT_DRAINED = 4, WANT_CLOSE = 8, MARK_SIZE = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static struct record *first; /* under the lock */
static struct record **last = &first;
static int told_fd;

static void write_at(int fd, const uint8_t *bytes, size_t size, off_t offset) {
    while (size > 0) {
        ssize_t written = pwrite(fd, bytes, size, offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return; /* its blocks exist, so the disk itself is at fault; `status` still tells the end */
        bytes += written;
        size -= (size_t)written;
        offset += written;
    }
}

/* Writes the mark last: a section that has one is whole. */
static void write_section(int fd, const uint8_t *section, size_t size, off_t offset) {
    write_at(fd, section + MARK_SIZE, size - MARK_SIZE, offset + MARK_SIZE);
    write_at(fd, section, MARK_SIZE, offset);
}

static void carry_out(struct record *record, unsigned wanted) {
    if (wanted & WANT_STARTED) write_section(record->fd, record->started, RECORD_STARTED_SIZE, RECORD_STARTED);
    if (wanted & WANT_ENDED) write_section(record->fd, record->ended, RECORD_ENDED_SIZE, RECORD_ENDED);
    if (wanted & WANT_DRAINED) write_section(record->fd, record->drained, RECORD_DRAINED_SIZE, RECORD_DRAINED);
    if (!(wanted & WANT_CLOSE)) return;
    close(record->fd);
    atomic_store(&record->closed, true); /* from here on the record may be reused */
    uint64_t one = 1;
    ssize_t told = write(told_fd, &one, sizeof one);
    (void)told;
}

static void *run(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (first == NULL) pthread_cond_wait(&filled, &lock);
        struct record *record = first;
        first = record->next;
        if (first == NULL) last = &first;
        unsigned wanted = record->wanted;
        record->wanted = 0;
        record->queued = false;
        pthread_mutex_unlock(&lock);
        carry_out(record, wanted);
    }
    return NULL;
}

static void want(struct record *record, unsigned wanted) {
    pthread_mutex_lock(&lock);
    record->wanted |= wanted;
    if (!record->queued) {
        record->queued = true;
        record->next = NULL;
        *last = record;
        last = &record->next;
        pthread_cond_signal(&filled);
    }
    pthread_mutex_unlock(&lock);
}

static uint64_t realtime_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int record_begin(void) {
    told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_t thread;
    if (told_fd < 0 || pthread_create(&thread, NULL, run, NULL) != 0) fatal("the writer's thread");
    return told_fd;
}

void record_open(struct record *record, int fd) {
    memset(record, 0, sizeof *record);
    record->fd = fd;
}

void record_started(struct record *record, const struct outcome *outcome) {
    uint8_t *at = put32(record->started, 1);
    at = put32(at, (uint32_t)outcome->step);
    at = put64(at, outcome->started_ns);
    at = put64(at, realtime_ns());
    put64(at, (uint64_t)outcome->oom_before);
    want(record, WANT_STARTED);
}

void record_ended(struct record *record, const struct outcome *outcome) {
    uint8_t *at = put32(record->ended, 1);
    at = put32(at, outcome->how);
    at = put32(at, outcome->value);
    at = put32(at, outcome->stage);
    at = put32(at, outcome->flags);
    at = put32(at, 0);
    at = put64(at, outcome->ended_ns);
    at = put64(at, realtime_ns());
    put64(at, (uint64_t)outcome->oom_after);
    want(record, WANT_ENDED);
}

void record_drained(struct record *record, const struct outcome *outcome) {
    uint8_t *at = put32(put32(record->drained, 1), 0);
    for (int i = 0; i < 2; i++) {
        at = put64(at, outcome->copied[i]);
        at = put64(at, outcome->dropped[i]);
        at = put32(at, outcome->error[i]);
        at = put32(at, 0);
    }
    want(record, WANT_DRAINED | WANT_CLOSE);
}

void record_abandon(struct record *record) { want(record, WANT_CLOSE); }
