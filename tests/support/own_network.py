"""A network of its own for a browser.

Chromium ends every request under way with ERR_NETWORK_CHANGED when an interface of its network gets or loses an
address. Containers of the tests beside it come and go, and each one's interface has an address.
So the browser gets a network namespace in which nothing changes, and a SOCKS proxy (RFC 1928) as its one way out.
"""

import ctypes
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
VERSION, NO_AUTHENTICATION, CONNECT, BY_NAME, BY_ADDRESS = 5, 0, 1, 3, 1
SUCCEEDED, REFUSED = 0, 5

_libc = ctypes.CDLL(None, use_errno=True)


class _Proxy(socketserver.ThreadingTCPServer):
    """Listens where it was made, and connects from the network of its threads: that of the tests."""

    daemon_threads = True


class _Connection(socketserver.StreamRequestHandler):
    rbufsize = 0

    def handle(self) -> None:
        self._read(self._read(2)[1])
        self.wfile.write(bytes((VERSION, NO_AUTHENTICATION)))
        command, _, kind = self._read(4)[1:]
        name = socket.inet_ntoa(self._read(4)) if kind == BY_ADDRESS else self._read(self._read(1)[0]).decode()
        port = int.from_bytes(self._read(2), "big")
        assert command == CONNECT
        assert kind in (BY_ADDRESS, BY_NAME)
        try:
            target = socket.create_connection(("127.0.0.1" if name == "localhost" else name, port))
        except OSError:
            self._answer(REFUSED)
            return
        with target:
            self._answer(SUCCEEDED)
            back = threading.Thread(target=_copy, args=(target, self.connection), daemon=True)
            back.start()
            _copy(self.connection, target)
            back.join()

    def _read(self, size: int) -> bytes:
        return self.connection.recv(size, socket.MSG_WAITALL)

    def _answer(self, outcome: int) -> None:
        self.wfile.write(bytes((VERSION, outcome, 0, BY_ADDRESS)) + bytes(6))


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()


class OwnNetwork:
    """A network namespace with nothing but a loopback interface, for what is started `inside` it."""

    def __init__(self) -> None:
        self._outside = _network_of_this_thread()
        _checked(_libc.unshare(CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            self._inside = _network_of_this_thread()
            self._proxy = _Proxy(("127.0.0.1", 0), _Connection)
        finally:
            _enter(self._outside)
        self.proxy_url = f"socks5://127.0.0.1:{self._proxy.server_address[1]}"
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put this thread, and each process that it starts in the block, into this network; the processes stay there."""
        _enter(self._inside)
        try:
            yield
        finally:
            _enter(self._outside)

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        os.close(self._inside)
        os.close(self._outside)


def _network_of_this_thread() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(network: int) -> None:
    _checked(_libc.setns(network, CLONE_NEWNET))


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
