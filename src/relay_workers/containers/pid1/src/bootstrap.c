/* Gets the socket of the channel from the worker, over the one socket that the container can see. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

enum { AGAIN_MS = 100, PATIENCE_MS = 2000, BACKLOG = 64 };

static bool send_bare(int fd, enum verb verb) {
    uint8_t message[HEADER_SIZE];
    packet_header(message, (uint16_t)verb, sizeof message, 0);
    return packet_send(fd, message, sizeof message, -1);
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) fatal("a path over 107 bytes");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && packet_from_outside(fd)) return fd;
    close(fd);
    return -1;
}

static int socket_option(int fd, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

/* Takes the socket out of the packet if it is as the protocol says, and listens. */
static int listen_on(struct packet *packet) {
    struct request request;
    if (packet->broken || message_parse(packet->data, packet->size, packet->fd_count, &request) != ERROR_OK) return -1;
    if (request.verb != VERB_BIND) return -1;
    int fd = packet->fds[0];
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    bool bound = getsockname(fd, (struct sockaddr *)&name, &size) == 0 && size > sizeof name.sun_family;
    if (!bound || socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_SEQPACKET ||
        socket_option(fd, SO_ACCEPTCONN) != 0 || listen(fd, BACKLOG) != 0)
        return -1;
    packet->fds[0] = -1;
    return fd;
}

static int receive_listener(int fd) {
    static uint8_t buffer[HEADER_SIZE + 1];
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    struct packet packet;
    if (!send_bare(fd, VERB_HELLO) || poll(&wanted, 1, PATIENCE_MS) != 1) return -1;
    if (!packet_receive(fd, buffer, sizeof buffer, &packet)) return -1;
    int listener = listen_on(&packet);
    packet_close(&packet);
    if (listener >= 0) send_bare(fd, VERB_READY);
    return listener;
}

int bootstrap(const char *path, void (*meanwhile)(void)) {
    const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000};
    for (;;) {
        int fd = connect_to(path);
        int listener = fd < 0 ? -1 : receive_listener(fd);
        if (fd >= 0) close(fd);
        if (listener >= 0) return listener;
        meanwhile();
        nanosleep(&pause, NULL);
    }
}
