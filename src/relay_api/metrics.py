"""Metrics for Prometheus: answers of this process, and counts of executions and nodes from the database."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relay_core.store.database import Connection
from relay_core.store.nodes.runtime_nodes import count_by_liveness
from relay_core.store.views.execution_views import count_active

_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class Metrics:
    """Metrics of one application. They have their own registry, so two applications in one process do not collide."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._answers = Counter("relay_http_responses", "Answers of the API.", labels, registry=self._registry)
        self._seconds = Histogram(
            "relay_http_seconds", "Seconds until an answer begins.", ["method", "route"], registry=self._registry
        )
        self._active = Gauge(
            "relay_executions_active", "Executions queued and running.", ["status", "run_reason"],
            registry=self._registry,
        )  # fmt: skip
        self._nodes = Gauge("relay_nodes", "Runtime nodes by liveness.", ["liveness"], registry=self._registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer and record the seconds from the request to the answer's first byte."""
        method = method if method in _METHODS else "other"
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def read(self, connection: Connection) -> bytes:
        """Return all metrics in Prometheus' text format, with new counts of executions and nodes from the database."""
        self._active.clear()
        for (status, run_reason), count in count_active(connection).items():
            self._active.labels(status, run_reason).set(count)
        self._nodes.clear()
        for liveness, count in count_by_liveness(connection).items():
            self._nodes.labels(liveness).set(count)
        return generate_latest(self._registry)
