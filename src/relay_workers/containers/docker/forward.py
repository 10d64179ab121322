"""Reaches servers inside containers from a loopback port of this node.

Each connection goes to the container's address on its bridge network. If that fails, because the server listens only on
the container's loopback interface or because this worker is in a network of its own, the connection goes through an
exec of the program `dial` (`dial.S`) in the container. Forwarded ports listen on 127.0.0.1 and on no other address. Not
supported: UDP; servers on a container's loopback if the machine is neither x86_64 nor aarch64, or if the engine is
reached over TLS.

One thread copies all bytes; `_DIALERS` more threads make the requests to the engine.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import NamedTuple

import docker
import structlog

from relay_core.domain.errors import RelayError
from relay_workers.containers.docker.attached import FrameReader, start_attached
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.in_container import programs
from relay_workers.containers.port import SUPERVISOR, Containers

MAX_CONNECTIONS = 512
"""The maximum number of connections of all forwarded ports together; an additional one is closed at once."""
_DIALERS = 8
_CONNECT_SECONDS = 2.0
_CHUNK = 1 << 16
_ROUNDS_TO_COME_IN = 5
_HELPER = "65534:0"
"""The user of the `dial` helper.

Its uid belongs to no account. By its gid 0, kill.sh recognises it as one of Relay's helpers.
"""

log = structlog.get_logger()


class _Peer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    decode: Callable[[bytes], bytes]


class Forwarder:
    """Implements `PortForwarder` for one worker process; usable from any thread.

    Args:
        engine: looks up the addresses of containers.
        api: a client of the engine, for execs in containers.
    """

    def __init__(self, engine: Containers, api: docker.APIClient) -> None:
        self._engine = engine
        self._api = api
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
        """Return whether a server in the container accepts connections on ``port`` (`PortForwarder.probe`).

        The bridge address is tried first, then the container's loopback by an exec of `dial`.
        """
        address = self._engine.inspect(container_id).address
        if address is not None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((address, port), timeout=_CONNECT_SECONDS),
            ):
                return True
        if programs.dial() is None:
            return False
        with translated():
            command = [f"{SUPERVISOR}/dial", str(port), "probe"]
            exec_id = self._api.exec_create(container_id, command, user=_HELPER, workdir="/")["Id"]
            self._api.exec_start(exec_id)
            return bool(self._api.exec_inspect(exec_id)["ExitCode"] == 0)

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
            upward = asyncio.ensure_future(_copy(reader, peer.writer, bytes))
            try:
                await _copy(peer.reader, writer, peer.decode)
            finally:
                upward.cancel()
        finally:
            peer.writer.close()

    async def _dial(self, container_id: str, port: int) -> _Peer:
        address = (await self._loop.run_in_executor(self._dialers, self._engine.inspect, container_id)).address
        if address is not None:
            with contextlib.suppress(OSError):  # TimeoutError is an OSError
                async with asyncio.timeout(_CONNECT_SECONDS):
                    reader, writer = await asyncio.open_connection(address, port, limit=_CHUNK)
                return _Peer(reader, writer, bytes)
        sock, ahead = await self._loop.run_in_executor(self._dialers, self._dial_inside, container_id, port)
        reader, writer = await asyncio.open_connection(sock=sock, limit=_CHUNK)
        frames = FrameReader()
        greeting = frames.feed(ahead)

        def decode(data: bytes) -> bytes:
            nonlocal greeting
            output, greeting = greeting + frames.feed(data), b""
            return output

        return _Peer(reader, writer, decode)

    def _dial_inside(self, container_id: str, port: int) -> tuple[socket.socket, bytes]:
        if programs.dial() is None:
            raise RelayError("this machine's architecture has no helper that reaches a container's loopback")
        with translated():
            command = [f"{SUPERVISOR}/dial", str(port)]
            created = self._api.exec_create(container_id, command, stdin=True, stderr=False, user=_HELPER, workdir="/")
        return start_attached(self._api, created["Id"])


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, decode: Callable[[bytes], bytes]) -> None:
    """Copy bytes from ``source`` to ``target`` until ``source`` ends, then close the writing side of ``target``."""
    while data := await source.read(_CHUNK):
        target.write(decode(data))
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
