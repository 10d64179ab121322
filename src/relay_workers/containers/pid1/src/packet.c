/* Packets with descriptors over SOCK_SEQPACKET sockets. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

/* A process outside of this pid namespace has pid 0 here. */
bool packet_from_outside(int fd) {
    struct ucred peer = {.pid = -1};
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer && peer.pid == 0;
}

static void take_descriptors(struct msghdr *message, struct packet *packet) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (packet->fd_count < DESCRIPTORS_MAX) packet->fds[packet->fd_count++] = fd;
            else close(fd);
        }
    }
}

/* False at the end of the connection, with errno 0, and on errors, with EAGAIN if there is nothing yet. */
bool packet_receive(int fd, uint8_t *buffer, size_t capacity, struct packet *packet) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = buffer, .iov_len = capacity};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memset(packet, 0, sizeof *packet);
    errno = 0;
    ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return false;
    packet->data = buffer;
    packet->size = (size_t)size;
    packet->broken = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    take_descriptors(&message, packet);
    if (size > 0) return true;
    packet_close(packet);
    errno = 0;
    return false;
}

bool packet_send(int socket, const uint8_t *data, size_t size, int fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

void packet_close(struct packet *packet) {
    for (size_t i = 0; i < packet->fd_count; i++)
        if (packet->fds[i] >= 0) close(packet->fds[i]);
    packet->fd_count = 0;
}

uint8_t *packet_header(uint8_t *at, uint16_t verb, size_t size, uint64_t tag) {
    return put64(put32(put16(put16(at, PROTOCOL_VERSION), verb), (uint32_t)size), tag);
}
