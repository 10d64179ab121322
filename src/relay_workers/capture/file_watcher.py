"""What the kernel tells the pump: a file has grown, a supervisor has spoken or died, somebody has called."""

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
    """What was heard in one go."""

    changed: set[int] = field(default_factory=set)
    """Watches whose file has grown or changed."""
    moved: set[int] = field(default_factory=set)
    """Watches whose file was renamed."""
    spoken: dict[int, bool] = field(default_factory=dict)
    """FIFOs with something to read; True: their writer is gone."""


class FileWatcher:
    """One epoll over one inotify, the FIFOs and a doorbell. `call` is for any thread, the rest for the pump's."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bell_lock = threading.Lock()
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._told = False
        self._open()

    def _open(self) -> INotify | None:
        """The inotify; None while this uid has used up its share of them: other processes of it may do so."""
        if self._inotify is None:
            try:
                self._inotify = INotify()
            except OSError as error:
                if not self._told:
                    log.warning(
                        "logs are looked at every second only; raise fs.inotify.max_user_instances",
                        error=error.strerror,
                    )
                self._told = True
                return None
            self._epoll.register(self._inotify.fileno(), select.EPOLLIN)
        return self._inotify

    def call(self) -> None:
        """Wake `listen`; nothing happens after `close`."""
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def watch_file(self, fd: int) -> int | None:
        """Watch an open file; through its descriptor, so that no path which a container could change is followed.

        Returns:
            The watch; None where the kernel has no more to give (the pump's scan finds the growth instead).
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
        """Stop to watch."""
        with contextlib.suppress(OSError):  # the kernel drops the watch of a removed file by itself
            if self._inotify is not None:
                self._inotify.rm_watch(watch)

    def hear_fifo(self, fd: int) -> None:
        """Listen to a FIFO; one without a writer is silent until it has had one."""
        self._epoll.register(fd, select.EPOLLIN)

    def forget_fifo(self, fd: int) -> None:
        """Stop to listen; to be done as soon as the writer is gone, which the kernel repeats for ever."""
        with contextlib.suppress(OSError, ValueError):  # it is not listened to any more
            self._epoll.unregister(fd)

    def listen(self, timeout: float) -> WatchEvents:
        """Wait at most ``timeout`` seconds for anything."""
        heard = WatchEvents()
        for fd, events in self._epoll.poll(timeout):
            if fd == self._bell:
                os.eventfd_read(fd)
            elif self._inotify is not None and fd == self._inotify.fileno():
                for event in self._inotify.read(timeout=0):
                    (heard.moved if event.mask & flags.MOVE_SELF else heard.changed).add(event.wd)
            else:
                heard.spoken[fd] = bool(events & select.EPOLLHUP)
        return heard

    def close(self) -> None:
        """Let go of everything."""
        self._epoll.close()
        if self._inotify is not None:
            self._inotify.close()
        with self._bell_lock:
            os.close(self._bell)
            self._bell = -1
