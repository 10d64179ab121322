"""Events of the kernel about captured files and FIFOs, and wake-ups by other threads, in one wait."""

import contextlib
import os
import select
import threading
from dataclasses import dataclass, field

import structlog
from inotify_simple import INotify, flags

log = structlog.get_logger(__name__)

_WATCHED = flags.MODIFY | flags.ATTRIB | flags.MOVE_SELF | flags.DELETE_SELF


@dataclass
class WatchEvents:
    """Events of one wait."""

    changed: set[int] = field(default_factory=set)
    """Watches whose file has grown or changed."""
    moved: set[int] = field(default_factory=set)
    """Watches whose file was renamed."""
    fifos: dict[int, bool] = field(default_factory=dict)
    """Descriptors of FIFOs with something to read; True: the writer has closed its end."""


class FileWatcher:
    """One epoll over one inotify, the FIFOs and an eventfd. Any thread may call `wake`; one thread calls the rest."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._warned = False
        self._open()

    def _open(self) -> INotify | None:
        """The inotify; None while processes of this user id have used up its share of them."""
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
        """End a `wait` now; does nothing after `close`."""
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def watch_file(self, fd: int) -> int | None:
        """Watch an open file by its descriptor, so that no path is followed that a container could change.

        Returns:
            The watch; None where the kernel grants no more (the scan of the pump finds the growth instead).
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
        """Stop watching a file."""
        with contextlib.suppress(OSError):  # the kernel drops the watch of a removed file by itself
            if self._inotify is not None:
                self._inotify.rm_watch(watch)

    def watch_fifo(self, fd: int) -> None:
        """Watch a FIFO; it causes no event until it has had a writer."""
        self._epoll.register(fd, select.EPOLLIN)

    def forget_fifo(self, fd: int) -> None:
        """Stop watching a FIFO; needed once its writer is gone, as the kernel repeats that event for ever."""
        with contextlib.suppress(OSError, ValueError):  # it is not watched any more
            self._epoll.unregister(fd)

    def wait(self, timeout: float) -> WatchEvents:
        """Wait at most ``timeout`` seconds for any event."""
        found = WatchEvents()
        for fd, events in self._epoll.poll(timeout):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif self._inotify is not None and fd == self._inotify.fileno():
                for event in self._inotify.read(timeout=0):
                    (found.moved if event.mask & flags.MOVE_SELF else found.changed).add(event.wd)
            else:
                found.fifos[fd] = bool(events & select.EPOLLHUP)
        return found

    def close(self) -> None:
        """Close all descriptors of the watcher; watched files and FIFOs stay open."""
        self._epoll.close()
        if self._inotify is not None:
            self._inotify.close()
        with self._wake_lock:
            os.close(self._wake_fd)
            self._wake_fd = -1
