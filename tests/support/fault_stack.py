"""A whole Relay whose parts may be killed: servers, API and workers are this session's own."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.relay import FINAL, Relay, environment_of
from tests.support.waiting import eventually

LEASE_SECONDS = 6
"""Short, so that waiting for an expiry is, too."""


@dataclass
class Stack:
    """Relay and the servers below it."""

    relay: Relay
    postgres: "CrashingPostgres"
    valkey: EmbeddedValkey
    repo: Path

    def agent(self, run: dict[str, Any], status: set[str] = FINAL, seconds: float = 90) -> dict[str, Any]:
        """The agent's execution once it has one of these statuses."""
        found = self.relay.wait_step(run, "coding_agent", status, seconds)
        return self.relay.get(f"/v1/executions/{found['id']}")

    def wait_log(self, execution_id: str, size: int) -> None:
        """Until so many bytes of the log are stored."""
        self.relay.wait_log(execution_id, size)

    def events(self, execution_id: str) -> list[tuple[str, bool]]:
        """Kind and terminality of an execution's events, by sequence; which has no gap."""
        with self.relay.database.connect() as connection:
            rows = connection.execute(
                text("SELECT sequence, kind, terminal FROM events WHERE operation_id = :id ORDER BY sequence"),
                {"id": execution_id},
            ).all()
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        return [(row.kind, row.terminal) for row in rows]

    def postgres_setting(self, name: str, value: str) -> None:
        """Change a setting of the whole server, for connections that there are, too."""
        admin = self.relay.database.execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f"ALTER SYSTEM SET {name} = {value}"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def must_be_whole(self, execution_id: str) -> None:
        """One terminal event, last; every stream closed, its sum that of what is stored."""
        events = self.events(execution_id)
        assert [kind for kind, terminal in events if terminal] == [events[-1][0]], events
        logs = self.relay.get(f"/v1/executions/{execution_id}")["logs"]
        for stream, told in logs.items():
            stored = self.relay.log(execution_id, stream)
            assert (len(stored), sha256(stored)) == (told["bytes"], told["sha256"]), stream


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def numbered(count: int, pause: float = 0.001) -> str:
    """A command that writes numbered lines, one write each. In Perl, which small images have, and which starts at once."""
    return f"exec perl -e 'for (0..{count - 1}) {{ syswrite STDOUT, \"$_\\n\"; select undef, undef, undef, {pause} }}'"


def lines(count: int) -> bytes:
    """What `numbered` writes."""
    return b"".join(b"%d\n" % number for number in range(count))


class CrashingPostgres(EmbeddedPostgres):
    """One that can be taken down as a power cut does."""

    def crash(self) -> None:
        """`kill -9` of all its processes; returns when all are gone, as the next start needs their shared memory."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.suspend()
        eventually(lambda: postmaster.status() == psutil.STATUS_STOPPED, "it starts no further process")
        children = postmaster.children(recursive=True)
        for process in [*children, postmaster]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
        self._process = None


def fault_relay(root: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Relay:
    """A Relay on these servers with a short lease; nothing is started."""
    environment = environment_of(root, postgres.url, valkey.url)
    environment |= {
        "RELAY_WORKER_CONCURRENCY": "24",
        "RELAY_LEASE_SECONDS": str(LEASE_SECONDS),
        "RELAY_LEASE_RENEW_SECONDS": "1",
        "RELAY_NODE_HEARTBEAT_SECONDS": "1",
        "RELAY_NODE_DEGRADED_SECONDS": "4",
        "RELAY_NODE_OFFLINE_SECONDS": "20",
        "RELAY_LAST_RESORT_SECONDS": "2",
        "RELAY_CONTAINER_NETWORK": environment["RELAY_CONTAINER_NETWORK"] + "-faults",
    }
    return Relay(environment, root)
