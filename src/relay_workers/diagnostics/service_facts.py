"""Gathers facts from Postgres and Redis, also about nodes and executions, for `relay doctor`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from relay_core.domain.message import node_queue, pool_queue
from relay_core.queue.celery_app import KEY_PREFIX
from relay_core.queue.redis_check import why_unfit
from relay_core.settings import Settings
from relay_core.store.database import Engine, make_database, server_time
from relay_core.store.executions import messages
from relay_core.store.executions.overdue import expired_leases, overdue_kills
from relay_core.store.nodes import placement, runtime_nodes
from relay_core.store.runs.state import inconsistent
from relay_core.store.schema.revision import check_schema
from relay_workers.diagnostics.checks import Check, judge_clock, judge_node, judge_queue, judge_redis
from relay_workers.ownership.node_identity import read_node_id

LATE_SECONDS = 60.0
"""Age, in seconds, at which a queued execution or an unfinished kill is reported."""
MAX_ROWS = 20
"""Largest number of executions of each kind that are reported."""
REDIS_SECONDS = 3.0


@contextmanager
def connected(settings: Settings) -> Iterator[Engine]:
    """Connect to Postgres; the connections are closed at the end of the block."""
    database = make_database(settings, application="doctor")
    try:
        yield database
    finally:
        database.dispose()


def examine_database(settings: Settings) -> list[Check]:
    """Examine the schema of the database, and the difference between this host's clock and Postgres' clock.

    Raises:
        SchemaMismatch: the schema belongs to another version of Relay.
    """
    with connected(settings) as database, database.connect() as connection:
        check_schema(connection)
        difference = time.time() - server_time(connection)
    return [Check("schema", "ok", "the database has this version's schema"), judge_clock(difference)]


def examine_redis(settings: Settings) -> list[Check]:
    """Examine whether Redis accepts writes, and how long the queues of this node and its pool are."""
    queues = [pool_queue(settings.pool), node_queue(read_node_id(settings.data_dir))]
    timeouts = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}
    with redis.Redis.from_url(settings.redis_url, **timeouts) as client:
        client.ping()
        why = why_unfit(client)
        lengths: list[Any] = [client.llen(KEY_PREFIX + name) for name in queues]
    return [judge_redis(why), *(judge_queue(name, int(length)) for name, length in zip(queues, lengths, strict=True))]


def examine_nodes(settings: Settings) -> list[Check]:
    """Examine all nodes by their rows in Postgres."""
    with connected(settings) as database, database.connect() as connection:
        return [judge_node(row) for row in runtime_nodes.list_nodes(connection)]


def examine_late_executions(settings: Settings) -> list[Check]:
    """Report executions that are queued, being killed, or without a living owner for too long."""
    with connected(settings) as database, database.connect() as connection:
        late = messages.startable(connection, LATE_SECONDS, limit=MAX_ROWS)
        waiting = {row: why or "for a worker" for row, why in placement.why_each_waits(connection, late).items()}
        behind = inconsistent(connection, MAX_ROWS)
        killed = overdue_kills(connection, LATE_SECONDS, MAX_ROWS)
        expired = expired_leases(connection, MAX_ROWS)
    advice = "see that a worker of its pool runs and is not full: `relay nodes`"
    slow = "see the worker's log; is the container engine slow?"
    bug = "this is a fault of Relay: report it, with the run's executions (`relay show --json`)"
    adopt = "a worker of its node adopts it; start one there"
    return [
        *(Check("queued", "warning", f"execution {row} waits: {why}", advice) for row, why in waiting.items()),
        *(Check("kill", "warning", f"execution {row} was asked to end and runs", slow) for row in killed),
        *(Check("run", "error", f"the status of run {row} is not that of its executions", bug) for row in behind),
        *(Check("lease", "warning", f"the lease on execution {row} has expired", adopt) for row in expired),
    ]
