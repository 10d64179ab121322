"""The other side of the channel, played by a test: it accepts connections, reads requests and sends chosen answers."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from relay_workers.containers.pid1.messages import ANSWER, Message, decode_message, encode_message

Answerer = Callable[["Peer", Message, list[int]], None]


@dataclass
class Peer:
    """One accepted connection."""

    socket: socket.socket

    def send(self, verb: int, tag: int, body: bytes, *descriptors: int) -> None:
        socket.send_fds(self.socket, [encode_message(Message(verb, tag, body))], descriptors)

    def answer(
        self, request: Message, body: bytes = b"", *descriptors: int, error: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        self.send(request.verb | ANSWER, request.tag, struct.pack("<IIII", *error, 0) + body, *descriptors)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def listening(path: Path, answer: Answerer) -> Iterator[list[Peer]]:
    """Answer the requests of all connections to a path until the context ends; yields the accepted connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        peers: list[Peer] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):  # shut down
                while True:
                    peers.append(Peer(listener.accept()[0]))
                    threads.append(threading.Thread(target=_serve, args=(peers[-1], answer)))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield peers
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            for peer in peers:
                with suppress(OSError):  # ended by the client
                    peer.end()
            for thread in threads:
                thread.join()
            for peer in peers:
                peer.socket.close()


def _serve(peer: Peer, answer: Answerer) -> None:
    with suppress(OSError):  # ended by one of the sides
        while True:
            packet, descriptors, _, _ = socket.recv_fds(peer.socket, 65_536, 8)
            if not packet:
                return
            try:
                answer(peer, decode_message(packet), descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
