/* The connections of clients. None of them can hold up another: nothing here waits. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

#define SILENCE_NS 60000000000u
#define OWED_NS 30000000000u

enum { QUEUE_BYTES_MAX = 1 << 20 };

/* An answer that the client has not made room for yet. */
struct queued {
    struct queued *next;
    size_t size;
    int fd;
    uint8_t data[];
};

struct connection {
    bool used;
    int fd;
    uint32_t generation;
    uint64_t active_ns;
    uint64_t owed_ns; /* since when it has not read what it is owed; 0 if it is owed nothing */
    uint32_t waiting; /* answers that come later */
    struct queued *first;
    struct queued **last;
    size_t queued_bytes;
};

static struct connection connections[CONNECTIONS_MAX];

static void free_first(struct connection *connection) {
    struct queued *queued = connection->first;
    connection->first = queued->next;
    if (connection->first == NULL) connection->last = &connection->first;
    connection->queued_bytes -= queued->size;
    if (queued->fd >= 0) close(queued->fd);
    free(queued);
}

static void drop(struct connection *connection) {
    while (connection->first != NULL) free_first(connection);
    loop_remove(connection->fd);
    close(connection->fd);
    connection->used = false;
    connection->generation++;
    event_forget((uint32_t)(connection - connections));
}

uint32_t channel_count(void) {
    uint32_t count = 0;
    for (int i = 0; i < CONNECTIONS_MAX; i++) count += connections[i].used;
    return count;
}

static bool is_idle(const struct connection *connection) {
    return connection->waiting == 0 && !event_watched((uint32_t)(connection - connections));
}

/* The one to close for a new connection: silent longest, those that wait for something last. */
static struct connection *least_needed(void) {
    struct connection *found = &connections[0];
    for (int i = 1; i < CONNECTIONS_MAX; i++) {
        struct connection *other = &connections[i];
        bool idler = is_idle(other) && !is_idle(found);
        bool older = is_idle(other) == is_idle(found) && other->active_ns < found->active_ns;
        if (idler || older) found = other;
    }
    return found;
}

static struct connection *free_connection(void) {
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (!connections[i].used) return &connections[i];
    struct connection *found = least_needed();
    drop(found);
    return found;
}

void channel_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (!packet_from_outside(fd)) {
        close(fd);
        return;
    }
    struct connection *connection = free_connection();
    *connection = (struct connection){
        .used = true, .fd = fd, .generation = connection->generation, .active_ns = now_ns()};
    connection->last = &connection->first;
    loop_add(fd, EPOLLIN, LOOP_CONNECTION, (uint32_t)(connection - connections));
}

void channel_read(uint32_t index) {
    static uint8_t buffer[MESSAGE_MAX];
    struct connection *connection = &connections[index];
    struct packet packet;
    if (!connection->used) return;
    if (!packet_receive(connection->fd, buffer, sizeof buffer, &packet)) {
        if (errno != EAGAIN && errno != EINTR) drop(connection);
        return;
    }
    connection->active_ns = now_ns();
    struct request request;
    struct failure failure = {.error = message_parse(packet.data, packet.size, packet.fd_count, &request)};
    if (packet.broken) failure.error = ERROR_MALFORMED;
    struct reference from = {true, index, connection->generation, request.tag};
    connection->waiting++;
    if (failure.error == ERROR_OK && request.verb == VERB_BIND) failure.error = ERROR_UNKNOWN_VERB;
    if (failure.error == ERROR_OK) verb_handle(&request, &from, packet.fds);
    else answer(&from, request.verb, &failure, NULL, 0, -1);
    packet_close(&packet);
    bool same = connection->used && connection->generation == from.generation;
    if (failure.error == ERROR_MALFORMED && same) drop(connection);
}

/* Sends nothing before what is queued. */
enum sent channel_send(uint32_t index, const uint8_t *data, size_t size, int fd) {
    struct connection *connection = &connections[index];
    if (!connection->used) return SENT_TO_NONE;
    if (connection->first != NULL) return SENT_NOT;
    if (packet_send(connection->fd, data, size, fd)) return SENT;
    if (errno == EAGAIN || errno == ENOBUFS) return SENT_NOT;
    drop(connection);
    return SENT_TO_NONE;
}

/* While something is owed, no request is read: so a client that does not read gets little more than its sockets hold. */
void channel_owes(uint32_t index, bool owes) {
    struct connection *connection = &connections[index];
    if (!connection->used || owes == (connection->owed_ns != 0)) return;
    connection->owed_ns = owes ? now_ns() : 0;
    loop_change(connection->fd, owes ? EPOLLOUT : EPOLLIN, LOOP_CONNECTION, index);
}

static bool queue(struct connection *connection, const uint8_t *data, size_t size, int fd) {
    if (connection->queued_bytes + size > QUEUE_BYTES_MAX) return false;
    struct queued *queued = malloc(sizeof *queued + size);
    if (queued == NULL) return false;
    *queued = (struct queued){.size = size, .fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, LOW_DESCRIPTORS)};
    memcpy(queued->data, data, size);
    *connection->last = queued;
    connection->last = &queued->next;
    connection->queued_bytes += size;
    channel_owes((uint32_t)(connection - connections), true);
    return fd < 0 || queued->fd >= 0;
}

void answer(const struct reference *to, uint16_t verb, const struct failure *failure, const uint8_t *body, size_t size,
            int fd) {
    static uint8_t message[MESSAGE_MAX];
    struct connection *connection = &connections[to->connection];
    if (!to->waits || !connection->used || connection->generation != to->generation) return;
    size_t whole = ANSWER_SIZE + (failure->error == ERROR_OK ? size : 0);
    uint8_t *at = packet_header(message, verb | ANSWER_BIT, whole, to->tag);
    at = put32(at, failure->error);
    at = put32(at, (uint32_t)failure->number);
    at = put32(at, failure->stage);
    at = put32(at, 0);
    if (whole > ANSWER_SIZE) memcpy(at, body, size);
    if (failure->error != ERROR_OK) fd = -1;
    connection->waiting--;
    if (channel_send(to->connection, message, whole, fd) == SENT_NOT && !queue(connection, message, whole, fd))
        drop(connection);
}

/* The client has made room: first what is queued, then the events. */
void channel_write(uint32_t index) {
    struct connection *connection = &connections[index];
    if (!connection->used) return;
    connection->owed_ns = now_ns();
    while (connection->first != NULL) {
        struct queued *queued = connection->first;
        if (packet_send(connection->fd, queued->data, queued->size, queued->fd)) {
            free_first(connection);
            continue;
        }
        if (errno != EAGAIN && errno != ENOBUFS) drop(connection);
        return;
    }
    event_pay(index);
}

void channel_expire(uint64_t now) {
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &connections[i];
        if (!connection->used) continue;
        bool deaf = connection->owed_ns != 0 && now > connection->owed_ns + OWED_NS;
        bool silent = is_idle(connection) && now > connection->active_ns + SILENCE_NS;
        if (deaf || silent) drop(connection);
    }
}
