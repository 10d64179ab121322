"""A container registry on loopback that behaves as badly as a test wants."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

SECRET = "body-of-an-internal-server"
"""What the server answers where it refuses; no user of Relay may see it."""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
SLOW_SECONDS = 3.2
"""Seconds for which the layer of an image of the repository ``slow`` is on its way."""
_SLOW_BYTES = 8 << 20
_SLOW_PIECES = 32


def _config(diff_id: str) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [diff_id]}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()


_CONFIG = _config("sha256:" + "1" * 64)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class _Image:
    """An image that can be pulled: its configuration and its one layer."""

    config: bytes
    layer: bytes


@cache
def _slow_image() -> _Image:
    """An image of 8 MiB that no engine has yet, because its content is random."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        file = tarfile.TarInfo("filling")
        file.size = _SLOW_BYTES
        tar.addfile(file, io.BytesIO(os.urandom(file.size)))
    return _Image(_config(_digest(archive.getvalue())), gzip.compress(archive.getvalue(), 0))


class Registry(ThreadingHTTPServer):
    """Repositories: ``drip`` (a layer of a TiB, a byte at a time), ``flood`` (the same, at once), ``silent``, ``slow``.

    An image of ``slow`` is whole: its layer of 8 MiB arrives within SLOW_SECONDS. All other repositories fail.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = Event()
        """Somebody began to fetch a layer, or is kept waiting for an answer."""
        self.left = Event()
        """And hung up."""
        self.requests: list[str] = []
        self.ending = Event()

    @property
    def place(self) -> str:
        """``host:port``, as an image reference begins."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        repository = self.path.removeprefix("/v2/").partition("/")[0]
        if repository == "silent":
            self._keep_waiting()
        elif repository == "slow":
            self._whole_image(_slow_image())
        elif repository in {"drip", "flood"} and "/manifests/" in self.path:
            self._answer(200, self._manifest(), _MANIFEST)
        elif repository in {"drip", "flood"} and hashlib.sha256(_CONFIG).hexdigest() in self.path:
            self._answer(200, _CONFIG, "application/octet-stream")
        elif repository in {"drip", "flood"}:
            self._layer(b"x" if repository == "drip" else b"x" * 65536)
        elif self.path == "/v2/":
            self._answer(200, b"{}", "application/json")
        else:
            self._answer(404 if repository == "missing" else 400, SECRET.encode(), "text/html")

    def _whole_image(self, image: _Image) -> None:
        if "/manifests/" in self.path:
            self._answer(200, self._manifest(image.config, _digest(image.layer), len(image.layer)), _MANIFEST)
        elif _digest(image.config) in self.path:
            self._answer(200, image.config, "application/octet-stream")
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(image.layer)))
            self.end_headers()
            self.server.asked.set()
            size = -(-len(image.layer) // _SLOW_PIECES)
            for start in range(0, len(image.layer), size):
                time.sleep(SLOW_SECONDS / _SLOW_PIECES)
                self.wfile.write(image.layer[start : start + size])

    def _manifest(self, config: bytes = _CONFIG, layer: str | None = None, size: int = 1 << 40) -> bytes:
        config_entry = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config)}
        config_entry["digest"] = _digest(config)
        layer_entry = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": size}
        layer_entry["digest"] = layer or _digest(str(self.server.server_port).encode())
        whole = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config_entry, "layers": [layer_entry]}
        return json.dumps(whole).encode()

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _layer(self, piece: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.server.asked.set()
        try:
            while not self.server.ending.wait(0.05 if len(piece) == 1 else 0):
                self.wfile.write(piece)
        except OSError:
            self.server.left.set()
        self.close_connection = True

    def _keep_waiting(self) -> None:
        self.server.asked.set()
        self.connection.settimeout(0.1)
        while not self.server.ending.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.server.left.set()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry for the length of a block."""
    registry = Registry()
    thread = Thread(target=registry.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.ending.set()
        registry.shutdown()
        registry.server_close()
        thread.join()
