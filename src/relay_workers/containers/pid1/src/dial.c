/* Connections to servers on the container's loopback, made here and handed out. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

#define PATIENCE_NS 2000000000u

struct dialing {
    bool used;
    bool six;
    int fd;
    uint16_t port;
    uint64_t until_ns;
    struct reference from;
};

static struct dialing dials[DIALS_MAX];

static int try_connect(uint16_t port, bool six) {
    int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 wide = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int failed = six ? connect(fd, (struct sockaddr *)&wide, sizeof wide) : connect(fd, (struct sockaddr *)&four, sizeof four);
    if (failed == 0 || errno == EINPROGRESS) return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static void conclude(struct dialing *dialing, int number) {
    struct failure failure = {.error = number == 0 ? ERROR_OK : ERROR_DIAL_FAILED, .number = number};
    uint8_t body[8];
    put32(put32(body, dialing->six ? 6 : 4), 0);
    answer(&dialing->from, VERB_DIAL, &failure, body, sizeof body, number == 0 ? dialing->fd : -1);
    if (dialing->fd >= 0) close(dialing->fd);
    dialing->used = false;
}

/* Begins the next attempt; concludes if there is none. */
static void attempt(struct dialing *dialing) {
    dialing->fd = try_connect(dialing->port, dialing->six);
    if (dialing->fd >= 0) loop_add(dialing->fd, EPOLLOUT, LOOP_DIAL, (uint32_t)(dialing - dials));
    else if (dialing->six) conclude(dialing, errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL ? ECONNREFUSED : errno);
    else {
        dialing->six = true;
        attempt(dialing);
    }
}

void dial(const struct request *request, const struct reference *from) {
    struct dialing *dialing = NULL;
    for (int i = 0; i < DIALS_MAX && dialing == NULL; i++)
        if (!dials[i].used) dialing = &dials[i];
    if (dialing == NULL) {
        struct failure full = {.error = ERROR_TOO_MANY};
        answer(from, VERB_DIAL, &full, NULL, 0, -1);
        return;
    }
    *dialing = (struct dialing){
        .used = true, .fd = -1, .port = (uint16_t)request->number, .until_ns = now_ns() + PATIENCE_NS, .from = *from};
    attempt(dialing);
}

void dial_ready(uint32_t index) {
    struct dialing *dialing = &dials[index];
    int number = 0;
    socklen_t size = sizeof number;
    if (!dialing->used) return;
    if (getsockopt(dialing->fd, SOL_SOCKET, SO_ERROR, &number, &size) < 0) number = errno;
    loop_remove(dialing->fd);
    if (number != 0 && !dialing->six) {
        close(dialing->fd);
        dialing->six = true;
        attempt(dialing);
        return;
    }
    conclude(dialing, number);
}

void dial_expire(uint64_t now) {
    for (int i = 0; i < DIALS_MAX; i++) {
        if (!dials[i].used || dials[i].until_ns > now) continue;
        loop_remove(dials[i].fd);
        conclude(&dials[i], ETIMEDOUT);
    }
}

uint64_t dial_next(void) {
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < DIALS_MAX; i++)
        if (dials[i].used && dials[i].until_ns < next) next = dials[i].until_ns;
    return next;
}
