"""A line to the real engine that a test can cut."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from relay_workers.containers.docker.client import find_engine

WAIT_SECONDS = 60


class EngineLine:
    """The engine's socket, through a line that can be cut: then it is as if dockerd were away."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self._engine = find_engine(None, os.environ).removeprefix("unix://")
        self._whole = threading.Event()
        self._whole.set()
        self._was_cut = threading.Event()
        self._lock = threading.Lock()
        self._words: bytes | None = None
        self._unanswered: bytes | None = None
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """All connections end; new ones are closed at once."""
        with self._lock:
            self._whole.clear()
            for connection in list(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._was_cut.set()

    def cut_at(self, words: bytes) -> None:
        """Cut it in the midst of the next request that has these words; returns then."""
        self._words = words
        assert self._was_cut.wait(WAIT_SECONDS), f"no request with {words!r}"

    def lose_request(self, words: bytes) -> None:
        """Cut it at the next request that has these words, before the engine gets it; returns at once."""
        self._words = words

    def lose_answer(self, words: bytes) -> None:
        """Cut it at the answer to the next request that has these words, which the engine gets; returns at once."""
        self._unanswered = words

    def mend(self) -> None:
        with self._lock:
            self._words = self._unanswered = None
            self._was_cut.clear()
            self._whole.set()

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole.is_set():
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._engine)
                self._open |= {near, far}
                unanswered = threading.Event()
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(*pair, unanswered, pair[0] is near), daemon=True).start()

    def _copy(
        self, source: socket.socket, target: socket.socket, unanswered: threading.Event, is_request: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if is_request and self._words is not None and self._words in data:
                    self.cut()
                if is_request and self._unanswered is not None and self._unanswered in data:
                    unanswered.set()
                if not is_request and unanswered.is_set():
                    self.cut()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
            return
        for connection in (source, target):
            self._open.discard(connection)
            connection.close()
