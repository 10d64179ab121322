/* Terminals, from the devpts that was mounted when the container began: a root step cannot put another in its place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "relay.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#define DEVPTS_MAGIC 0x1cd1

static int devices = -1;

void pty_begin(void) {
    struct statfs about;
    devices = open("/dev/pts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (devices < 0 || (fstatfs(devices, &about) == 0 && about.f_type == DEVPTS_MAGIC)) return;
    close(devices);
    devices = -1;
}

static int open_slave(int master) {
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    unsigned number;
    if (slave >= 0 || ioctl(master, TIOCGPTN, &number) < 0) return slave;
    char name[16]; /* a kernel before 4.13 */
    snprintf(name, sizeof name, "%u", number);
    return openat(devices, name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

bool pty_resize(int master, uint16_t columns, uint16_t rows) {
    struct winsize size = {.ws_col = columns, .ws_row = rows};
    return ioctl(master, TIOCSWINSZ, &size) == 0;
}

int pty_open(uint32_t uid, uint32_t gid, uint16_t columns, uint16_t rows, int *slave) {
    int locked = 0;
    if (devices < 0) {
        errno = ENODEV;
        return -1;
    }
    int master = openat(devices, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0) return -1;
    *slave = ioctl(master, TIOCSPTLCK, &locked) < 0 ? -1 : open_slave(master);
    if (*slave >= 0 && fchown(*slave, uid, gid) == 0 && fchmod(*slave, 0600) == 0) {
        if (columns != 0 && rows != 0) pty_resize(master, columns, rows);
        return master;
    }
    int number = errno;
    if (*slave >= 0) close(*slave);
    close(master);
    errno = number;
    return -1;
}
