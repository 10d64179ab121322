"""Waits for kernel events about captured files, and for wake-ups by other threads, in one call."""

import contextlib
import os
import select
import threading
from dataclasses import dataclass, field

import structlog
from inotify_simple import INotify, flags

log = structlog.get_logger(__name__)

_WATCHED = flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB | flags.MOVE_SELF | flags.DELETE_SELF


@dataclass
class WatchEvents:
    """The events that one wait returned."""

    changed: set[int] = field(default_factory=set)
    """Ids of the watches whose file grew or changed, or was closed by its last writer."""
    moved: set[int] = field(default_factory=set)
    """Ids of the watches whose file was renamed."""


class FileWatcher:
    """Watches files with inotify. Any thread may call `wake`; only one thread may call the rest.

    One epoll instance waits for the inotify instance and an eventfd, which `wake` uses.
    """

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._warned = False
        self._open()

    def _open(self) -> INotify | None:
        """Return the inotify instance; None while processes with this uid have used up their limit of instances."""
        if self._inotify is None:
            try:
                self._inotify = INotify()
            except OSError as error:
                if not self._warned:
                    log.warning(
                        "logs are looked at every second only; raise fs.inotify.max_user_instances",
                        error=error.strerror,
                    )
                self._warned = True
                return None
            self._epoll.register(self._inotify.fileno(), select.EPOLLIN)
        return self._inotify

    def wake(self) -> None:
        """Make a waiting `wait` return now; do nothing after `close`."""
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def watch_file(self, fd: int) -> int | None:
        """Watch an open file by its descriptor, so that no path is used that a container could change.

        Returns:
            The id of the watch; None if the kernel allows no more watches. The pump's scan then finds the file's
                growth.
        """
        inotify = self._open()
        if inotify is None:
            return None
        try:
            return int(inotify.add_watch(f"/proc/self/fd/{fd}", _WATCHED))
        except OSError as error:
            log.warning("a log cannot be watched; raise fs.inotify.max_user_watches", error=error.strerror)
            return None

    def forget_file(self, watch: int) -> None:
        """Stop watching a file, given the id of its watch."""
        with contextlib.suppress(OSError):  # the kernel itself removes the watch of a removed file
            if self._inotify is not None:
                self._inotify.rm_watch(watch)

    def wait(self, timeout: float) -> WatchEvents:
        """Wait at most ``timeout`` seconds for any event, and return the events."""
        found = WatchEvents()
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif self._inotify is not None and fd == self._inotify.fileno():
                for event in self._inotify.read(timeout=0):
                    (found.moved if event.mask & flags.MOVE_SELF else found.changed).add(event.wd)
        return found

    def close(self) -> None:
        """Close the watcher's own descriptors; watched files stay open."""
        self._epoll.close()
        if self._inotify is not None:
            self._inotify.close()
        with self._wake_lock:
            os.close(self._wake_fd)
            self._wake_fd = -1
