"""A worker's own page for supervisors and Prometheus: ``/healthz`` and ``/metrics``."""

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from relay_core.domain.errors import RelayError

SLACK_SECONDS = 15.0
"""On top of three intervals, before a clock that has not ticked counts as stuck."""
REQUEST_SECONDS = 10.0
"""A client that says nothing for so long is hung up on: each holds a thread."""


class PortTaken(RelayError):  # noqa: N818 - named for what it says
    """The health port cannot be listened on."""


class Tick(NamedTuple):
    """One clock of a worker."""

    age_seconds: float
    """Since it last ran through without an error; infinite where its thread is dead."""
    interval_seconds: float
    vital: bool
    """Without it runs are lost or not ended; else something is only not cleaned up for now."""


class Health(NamedTuple):
    """What `/healthz` says."""

    stuck: list[str]
    """What makes it 503: a supervisor should start the worker anew."""
    degraded: list[str]


def judge(ticks: Mapping[str, Tick], *, redis_takes_writes: bool) -> Health:
    """Whether a worker does its work, by what is seen of it."""
    late = {name: tick for name, tick in ticks.items() if tick.age_seconds > 3 * tick.interval_seconds + SLACK_SECONDS}
    stuck = [name for name, tick in late.items() if tick.vital]
    degraded = [name for name, tick in late.items() if not tick.vital] + ([] if redis_takes_writes else ["redis"])
    return Health(stuck, degraded)


class HealthServer:
    """Serves on a thread of its own, from the moment it is made.

    Args:
        address: host and port.
        health: asked for each request.
        metrics: as well.

    Raises:
        PortTaken: somebody else listens there.
    """

    def __init__(self, address: tuple[str, int], health: Callable[[], Health], metrics: Callable[[], bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    found = health()
                    status = HTTPStatus.SERVICE_UNAVAILABLE if found.stuck else HTTPStatus.OK
                    body = json.dumps({"status": "stuck" if found.stuck else "ok", **found._asdict()}).encode()
                    self._answer(status, "application/json", body)
                elif self.path == "/metrics":
                    self._answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", metrics())
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /healthz and /metrics\n")

            def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Not in the worker's log."""

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise PortTaken(f"cannot listen on {where} ({error.strerror}); change RELAY_WORKER_HTTP_PORT") from error
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
