"""Numbers for Prometheus: of this process's answers, and of the work in the database."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import Connection, func, select

from relay_core.domain.vocabulary import ACTIVE
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode

_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class Metrics:
    """One registry per application, so that two in one process do not collide."""

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
        """Count one answer."""
        method = method if method in _METHODS else "other"
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def read(self, connection: Connection) -> bytes:
        """All numbers in Prometheus' text format, those of the database as they are now."""
        e = ExecutionProcess
        active = select(e.status, e.run_reason, func.count()).where(e.status.in_(ACTIVE))
        self._active.clear()
        for status, run_reason, count in connection.execute(active.group_by(e.status, e.run_reason)):
            self._active.labels(status, run_reason).set(count)
        nodes = select(RuntimeNode.liveness, func.count()).group_by(RuntimeNode.liveness)
        self._nodes.clear()
        for liveness, count in connection.execute(nodes):
            self._nodes.labels(liveness).set(count)
        return generate_latest(self._registry)
