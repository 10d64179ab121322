"""Reaches servers inside containers from a loopback port of this node.

Each connection goes to the container's loopback interface, through relay-pid1. If nothing listens there, it goes to the
container's address on its bridge network. Forwarded ports listen on 127.0.0.1 and on no other address. UDP is not
supported.

One thread copies all bytes; `_DIALERS` more threads make the connections.
"""

import asyncio
import socket
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import NamedTuple

import structlog

from relay_workers.containers.pid1.errors import DialFailed
from relay_workers.containers.port import Containers

MAX_CONNECTIONS = 512
"""The maximum number of connections of all forwarded ports together; an additional one is closed at once."""
_DIALERS = 8
_CONNECT_SECONDS = 2.0
_CHUNK = 1 << 16
_ROUNDS_TO_COME_IN = 5

log = structlog.get_logger()


class _Peer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Forwarder:
    """Implements `PortForwarder` for one worker process; usable from any thread.

    Args:
        engine: connects to containers, and looks up their addresses.
    """

    def __init__(self, engine: Containers) -> None:
        self._engine = engine
        self._dialers = ThreadPoolExecutor(_DIALERS, thread_name_prefix="forward-dial")
        self._servers: dict[str, asyncio.Server] = {}
        self._connections: dict[str, dict[asyncio.Task[None], asyncio.StreamWriter]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="forward", daemon=True)
        self._thread.start()

    def open(self, key: str, container_id: str, port: int, *, local_port: int = 0) -> int:
        """Forward a port of 127.0.0.1 to a port of a container and return it (`PortForwarder.open`)."""
        return asyncio.run_coroutine_threadsafe(self._open(key, container_id, port, local_port), self._loop).result()

    def close(self, key: str) -> None:
        """Stop the forwarding of ``key`` and close its connections (`PortForwarder.close`)."""
        asyncio.run_coroutine_threadsafe(self._close(key), self._loop).result()

    def probe(self, container_id: str, port: int) -> bool:
        """Return whether a server in the container accepts connections on ``port`` (`PortForwarder.probe`)."""
        try:
            self._connect(container_id, port).close()
        except OSError:
            return False
        return True

    def shutdown(self) -> None:
        """Close all forwardings and stop the threads (`PortForwarder.shutdown`)."""
        for key in list(self._servers):
            self.close(key)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._dialers.shutdown()

    async def _open(self, key: str, container_id: str, port: int, local_port: int) -> int:
        if key not in self._servers:

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if key not in self._servers:  # the connection was accepted just before `_close`
                    writer.close()
                    return
                await self._track(key, writer, self._join(reader, writer, container_id, port))

            try:
                server = await asyncio.start_server(handle, "127.0.0.1", local_port, limit=_CHUNK, start_serving=False)
            except OSError:
                server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=_CHUNK, start_serving=False)
            self._servers[key] = server
            await server.start_serving()
        return int(self._servers[key].sockets[0].getsockname()[1])

    async def _close(self, key: str) -> None:
        server = self._servers.pop(key, None)
        if server is not None:
            # If a server is closed after accepting a connection but before creating its transport, the connection leaks
            # (asyncio of 3.11 fails an assertion). So stop accepting, let accepted ones get a transport, then close.
            for listener in server.sockets:
                self._loop.remove_reader(listener)
            for _ in range(_ROUNDS_TO_COME_IN):
                await asyncio.sleep(0)
            server.close()
        connections = self._connections.pop(key, {})
        for connection, writer in connections.items():
            connection.cancel()
            writer.close()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _track(self, key: str, writer: asyncio.StreamWriter, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        mine = self._connections.setdefault(key, {})
        mine[task] = writer
        try:
            if sum(len(tasks) for tasks in self._connections.values()) > MAX_CONNECTIONS:
                log.warning("too many forwarded connections", action="forward", key=key, limit=MAX_CONNECTIONS)
                task.cancel()
            await asyncio.wait([task])
        finally:
            mine.pop(task, None)
            writer.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a forwarded connection failed", action="forward", key=key, error=str(error))

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, container_id: str, port: int
    ) -> None:
        peer = await self._dial(container_id, port)
        try:
            upward = asyncio.ensure_future(_copy(reader, peer.writer))
            try:
                await _copy(peer.reader, writer)
            finally:
                upward.cancel()
        finally:
            peer.writer.close()

    async def _dial(self, container_id: str, port: int) -> _Peer:
        connected = await self._loop.run_in_executor(self._dialers, self._connect, container_id, port)
        return _Peer(*await asyncio.open_connection(sock=connected, limit=_CHUNK))

    def _connect(self, container_id: str, port: int) -> socket.socket:
        """Return a connection to a server in a container, which the caller closes.

        Raises:
            OSError: no server accepts a connection.
            RelayError: as `PortForwarder.probe`.
        """
        try:
            return self._engine.dial(container_id, port)
        except DialFailed as error:
            address = self._engine.inspect(container_id).address
            if address is None:
                raise ConnectionRefusedError(str(error)) from error
            return socket.create_connection((address, port), timeout=_CONNECT_SECONDS)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy bytes from ``source`` to ``target`` until ``source`` ends, then close the writing side of ``target``."""
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
