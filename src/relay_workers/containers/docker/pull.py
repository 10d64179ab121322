"""Pulls an image through the engine, with a deadline, a limit of bytes, and a way to cancel.

The engine stops a pull when the connection of the request is closed, and it sends nothing while it waits for a
registry. So the request uses a socket of its own, which can be shut down at any moment; the Docker SDK gives access to
its socket only after the response has begun. Text that a registry sent is written to the worker's log and is never
shown to a user.
"""

import http.client
import json
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import docker
import structlog
from docker.auth import get_config_header, resolve_repository_name
from docker.utils import parse_repository_tag

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.failure import classify_failure
from relay_workers.containers.docker.pull_progress import PullProgress
from relay_workers.containers.port import EngineUnavailable, PullTerms

_POLL_SECONDS = 0.1
_FREE_SPACE_SECONDS = 1.0
_LINE_BYTES = 1 << 20
_DISK_FULL = ("no space left on device", "disk quota exceeded")
_REFUSED = ("not found", "manifest unknown", "denied", "unauthorized", "does not exist", "no matching manifest")

log = structlog.get_logger(__name__)


def pull(api: docker.APIClient, ref: str, terms: PullTerms) -> None:
    """Pull an image; return once it is on the node.

    Raises:
        StepFailed: ``image_unavailable``, ``timeout``, ``disk_pressure``, or, if the pull was cancelled, ``user``.
        EngineUnavailable: the engine stopped answering.
    """
    root = _engine_directory(api)
    connection = _connect(api)
    own = connection.sock
    events: SimpleQueue[dict[str, Any] | Exception | None] = SimpleQueue()
    Thread(target=_read, args=(connection, _request(api, ref), events), name="pull", daemon=True).start()
    download = Download(terms.max_bytes)
    progress = PullProgress(terms.tell)
    progress.begin(ref)
    deadline = time.monotonic() + terms.seconds
    look_at_disk = 0.0
    try:
        while True:
            now = time.monotonic()
            if terms.cancelled.is_set():
                raise StepFailed(Reason.USER, f"killed while the image {ref!r} was being pulled")
            if now >= deadline:
                what = f"pulling the image {ref!r} took longer than {terms.seconds:g} s, which is {terms.seconds_are}"
                raise StepFailed(Reason.TIMEOUT, what)
            if root is not None and now >= look_at_disk:
                look_at_disk = now + _FREE_SPACE_SECONDS
                _check_disk(ref, root, terms.min_free_bytes)
            with suppress(Empty):
                event = events.get(timeout=_POLL_SECONDS)
                if event is None:
                    progress.end()
                    return
                if isinstance(event, Exception):
                    raise event
                _take(ref, event, download)
                progress.take(event)
    finally:
        _break_off(own)


class Download:
    """The size of a pull's download, as far as the engine has reported the sizes of the layers.

    Args:
        max_bytes: the maximum total size of the compressed layers.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._layers: dict[str, int] = {}

    def too_large(self, event: Mapping[str, Any]) -> bool:
        """Record a progress event; return whether the layers reported so far are together larger than `max_bytes`.

        Args:
            event: one line of the engine's answer to a pull, parsed.
        """
        progress = event.get("progressDetail") or {}
        if event.get("status") == "Downloading":
            size = max(int(progress.get("total") or 0), int(progress.get("current") or 0))
            layer = str(event.get("id"))
            self._layers[layer] = max(self._layers.get(layer, 0), size)
        return sum(self._layers.values()) > self._max_bytes

    @property
    def max_bytes(self) -> int:
        """The maximum size of the download in bytes."""
        return self._max_bytes


def unavailable(ref: str, why: str) -> StepFailed:
    """Return the error for a step whose image cannot be used.

    Args:
        ref: the name of the image, as it was requested.
        why: a clause for the message.
    """
    message = f"image {ref!r} cannot be used: {why}; pull or build it on this node, or ask for another image"
    return StepFailed(Reason.IMAGE_UNAVAILABLE, message)


def explain(ref: str, said: str) -> StepFailed:
    """Return the error for a step whose image could not be pulled.

    Args:
        ref: the name of the image, as it was requested.
        said: the engine's error text. It may quote the registry, so the returned error contains no word of it.
    """
    text = said.lower()
    if any(words in text for words in _DISK_FULL):
        return StepFailed(
            Reason.DISK_PRESSURE, f"the node's disk is full: image {ref!r} does not fit; free space there"
        )
    if any(words in text for words in _REFUSED):
        return unavailable(ref, "its registry does not have it for this platform, or wants a login")
    return unavailable(ref, "its registry cannot be reached, or does not answer as a registry does")


def _take(ref: str, event: dict[str, Any], download: Download) -> None:
    if "error" in event:
        said = str(event["error"])
        log.warning("a pull failed", image=ref, said=said[:2000])
        raise explain(ref, said)
    if download.too_large(event):
        raise unavailable(ref, f"it is larger than {download.max_bytes} bytes (RELAY_IMAGE_MAX_BYTES)")


def _check_disk(ref: str, root: Path, min_free_bytes: int) -> None:
    if shutil.disk_usage(root).free < min_free_bytes:
        message = f"image {ref!r} leaves less than {min_free_bytes} bytes free in {root} on the node; free space there"
        raise StepFailed(Reason.DISK_PRESSURE, message)


def _engine_directory(api: docker.APIClient) -> Path | None:
    """Return the directory in which the engine keeps images; None if this worker cannot see it."""
    root = Path(str(api.info().get("DockerRootDir") or "/nonexistent"))
    return root if root.is_dir() else None


def _connect(api: docker.APIClient) -> http.client.HTTPConnection:
    """Return a connection to the engine whose socket this module can shut down.

    Raises:
        EngineUnavailable: the engine does not answer, or is reached neither over a UNIX socket nor over plain TCP.
    """
    path = getattr(api.get_adapter(api.base_url), "socket_path", None)
    place = urlsplit(api.base_url)
    try:
        if path is not None:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(path))
        elif place.scheme == "http":
            connection = http.client.HTTPConnection(str(place.hostname), place.port)
            connection.connect()
        else:
            raise EngineUnavailable("pulls need an engine on a UNIX socket or plain TCP", retryable=False)
    except OSError as error:
        raise classify_failure(None, str(error)) from error
    return connection


def _request(api: docker.APIClient, ref: str) -> tuple[str, dict[str, str]]:
    """Return the path and the headers of the pull request.

    The login for the registry comes from this worker's Docker configuration.
    """
    repository, tag = parse_repository_tag(ref)
    words = urlencode({"fromImage": repository, "tag": tag or "latest"})
    login = get_config_header(api, resolve_repository_name(repository)[0])
    headers = {"X-Registry-Auth": login.decode() if isinstance(login, bytes) else str(login)} if login else {}
    return f"/v{api.api_version}/images/create?{words}", headers


def _read(
    connection: http.client.HTTPConnection,
    request: tuple[str, dict[str, str]],
    events: "SimpleQueue[dict[str, Any] | Exception | None]",
) -> None:
    """Put each line of the engine's answer into ``events``, then None at its end, or the error that interrupted it."""
    try:
        connection.request("POST", request[0], headers={**request[1], "Content-Length": "0"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            events.put({"error": answer.read(_LINE_BYTES).decode(errors="replace")})
            return
        while line := answer.readline(_LINE_BYTES):
            if line.strip():
                events.put(json.loads(line))
        events.put(None)
    except (OSError, http.client.HTTPException, ValueError) as error:
        events.put(classify_failure(None, f"it broke off a pull: {error}"))


def _break_off(own: socket.socket) -> None:
    """Shut down and close the connection, even while another thread reads it.

    The engine then stops an unfinished pull.
    """
    with suppress(OSError):
        own.shutdown(socket.SHUT_RDWR)
    own.close()
