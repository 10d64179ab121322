"""The HTTP page of a worker for process supervisors and Prometheus: ``/healthz`` and ``/metrics``."""

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from relay_core.domain.errors import RelayError

SLACK_SECONDS = 15.0
"""A clock stands still if its last success is longer ago than three intervals plus these seconds."""
REQUEST_SECONDS = 10.0
"""Time-out of a client's request, in seconds; each connection occupies a thread."""


class PortTaken(RelayError):  # noqa: N818 - named for what it says
    """The worker cannot listen on the port of its health page."""


class ClockState(NamedTuple):
    """The state of one clock (periodic thread) of a worker."""

    age_seconds: float
    """Seconds since its last success; infinite if its thread is dead."""
    interval_seconds: float
    vital: bool
    """Whether executions are lost or never end without it. Other clocks only clean up."""


class Health(NamedTuple):
    """The content of the answer to `/healthz`."""

    stuck: list[str]
    """Vital clocks that stand still. If there is one, the answer is 503, and a supervisor should restart the worker."""
    degraded: list[str]
    """Other clocks that stand still, and `redis` if it accepts no writes."""


def judge(clocks: Mapping[str, ClockState], *, redis_takes_writes: bool) -> Health:
    """Judge the health of a worker.

    Args:
        clocks: the state of each clock by its name.
        redis_takes_writes: whether Redis accepts writes.
    """
    late = {name: clock for name, clock in clocks.items() if _stands_still(clock)}
    stuck = [name for name, clock in late.items() if clock.vital]
    degraded = [name for name, clock in late.items() if not clock.vital] + ([] if redis_takes_writes else ["redis"])
    return Health(stuck, degraded)


def _stands_still(clock: ClockState) -> bool:
    return clock.age_seconds > 3 * clock.interval_seconds + SLACK_SECONDS


class HealthServer:
    """Serves the page on its own thread as soon as it is constructed.

    Args:
        address: host and port; port 0 takes a free one.
        health: called for each request of `/healthz`.
        metrics: called for each request of `/metrics`; returns Prometheus' text format.

    Raises:
        PortTaken: the address cannot be listened on.
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
                """Keep requests out of the worker's log."""

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise PortTaken(f"cannot listen on {where} ({error.strerror}); change RELAY_WORKER_HTTP_PORT") from error
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
